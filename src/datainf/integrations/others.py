"""Examples that are no training examples, scored for themselves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from datainf.store import GradientStore
from datainf.views import Views


class Others(Views):
    """The gradients of other examples of a training's weights, as if they were training examples:
    scaled as these are, in the metric that the training gradients make, and beside the rows that
    are the training's curvature. They change neither, since they were not trained on."""

    def __init__(self, store: GradientStore, training: Views) -> None:
        rows = training.store if training.drawn is None else training.drawn
        super().__init__(store, training.options, rows, training.device)
        self._training = training

    @cached_property
    def _scales(self) -> Mapping[str, Tensor] | None:
        return self._training._scales
