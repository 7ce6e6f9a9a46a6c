"""What scoring costs, beside the released code's loops."""

from experiments.cost.settings import SETTINGS, cells

__all__ = ["ALONE", "SETTINGS", "cells"]

ALONE = True
