"""How DataInf's error and cost grow with n and d."""

from experiments.scaling.settings import SETTINGS, cells

__all__ = ["ALONE", "SETTINGS", "cells"]

ALONE = True
