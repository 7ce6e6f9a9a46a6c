"""Influential data, text: sentence transformations, maths without and with reasoning."""

from experiments.text.settings import SETTINGS, cells

__all__ = ["SETTINGS", "cells"]
