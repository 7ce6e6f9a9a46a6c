"""Approximation error and mislabelled data, on four tasks of GLUE."""

from experiments.glue.settings import SETTINGS, cells

__all__ = ["SETTINGS", "cells"]
