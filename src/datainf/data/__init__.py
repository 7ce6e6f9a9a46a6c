"""Data sets in, in every usual form: files, folders, hub ids → rows with columns of known names."""

from datainf.columns import Candidates, Columns, Decision, decide
from datainf.data.examples import Examples, load

__all__ = ["Candidates", "Columns", "Decision", "Examples", "decide", "load"]
