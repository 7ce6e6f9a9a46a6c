"""What people do with stores and scores."""

from datainf.applications.inspect import StoreReport, inspect
from datainf.applications.mislabeled import Suspects, mislabeled
from datainf.applications.select import Selection, select
from datainf.applications.verify import Fault, Verified, verify

__all__ = [
    "Fault", "Selection", "StoreReport", "Suspects", "Verified", "inspect", "mislabeled", "select",
    "verify",
]  # fmt: skip
