"""What people do with stores and scores."""

from datainf.applications.inspect import StoreReport, inspect
from datainf.applications.mislabeled import Suspects, mislabeled
from datainf.applications.select import Selection, select

__all__ = ["Selection", "StoreReport", "Suspects", "inspect", "mislabeled", "select"]
