"""Influential training images: which pictures taught a diffusion model a style, or a subject?"""

from experiments.images.settings import SETTINGS, cells

__all__ = ["SETTINGS", "cells"]
