"""What people do with stores and scores."""

from datainf.applications.inspect import StoreReport, inspect

__all__ = ["StoreReport", "inspect"]
