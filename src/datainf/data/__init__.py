"""Data sets in, in every usual form: files, folders, hub ids → rows with columns of known names."""

from datainf.columns import Candidates, Columns, Decision, decide, detect_task
from datainf.data.examples import Examples, load

__all__ = ["Candidates", "Columns", "Decision", "Examples", "decide", "detect_task", "load"]
