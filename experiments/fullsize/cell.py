"""The cells are those of the runs on GLUE."""

from experiments.glue.cell import run

__all__ = ["run"]
