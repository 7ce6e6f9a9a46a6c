"""Influential training images: which pictures taught a diffusion model a style, or a subject?"""

from experiments.images.cell import cells, run
from experiments.images.settings import SETTINGS

__all__ = ["SETTINGS", "cells", "run"]
