"""Mislabelled data and approximation error, adapter by adapter."""

from experiments.adapters.settings import SETTINGS, cells

__all__ = ["SETTINGS", "cells"]
