"""Gradients, and what they tell, while a model is fine-tuned."""

from experiments.training.settings import SETTINGS, cells

__all__ = ["SETTINGS", "cells"]
