"""Influential data, text: sentence transformations, maths without and with reasoning."""

from experiments.text.cell import cells, run
from experiments.text.settings import SETTINGS

__all__ = ["SETTINGS", "cells", "run"]
