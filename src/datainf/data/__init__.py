"""Data sets in, in every usual form: files, folders, hub ids → rows with columns of known names."""

from datainf.data.columns import Columns, detect_task
from datainf.data.examples import Examples, load

__all__ = ["Columns", "Examples", "detect_task", "load"]
