"""Text to pretrain on: behaviours on made-up words, arithmetic, word problems.

It is of the same kind as the data that the base is fine-tuned on later, so that fine-tuning has
something to build on, but holds none of the ten transformations and none of the ten templates.
"""

from experiments.text.corpus.mixture import Mixture, Sample

__all__ = ["Mixture", "Sample"]
