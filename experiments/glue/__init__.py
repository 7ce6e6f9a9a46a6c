"""Approximation error and mislabelled data, on four tasks of GLUE."""

from experiments.glue.cell import cells, run
from experiments.glue.settings import SETTINGS

__all__ = ["SETTINGS", "cells", "run"]
