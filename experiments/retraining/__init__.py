"""Does training again without the worst rows help, with the paper's number of rows?"""

from experiments.retraining.settings import SETTINGS, cells

__all__ = ["SETTINGS", "cells"]
