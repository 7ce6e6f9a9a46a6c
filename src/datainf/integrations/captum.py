"""Captum's interface: `influence(inputs, k, proponents)`. Needs `pip install 'datainf[captum]'`.

from datainf.integrations.captum import DataInfInfluence

tracer = DataInfInfluence(model, train_dataset, method="datainf")
tracer.influence((inputs, labels), k=5)  # indices [m, 5] and influence_scores [m, 5]
"""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from datainf.errors import InputError, OptionError
from datainf.estimators import Estimator
from datainf.integrations.choices import Options
from datainf.integrations.live import Attributor
from datainf.tasks import Task

try:
    from captum.influence import DataInfluence
except ImportError:
    raise InputError(
        "datainf.integrations.captum needs Captum", remedy="pip install 'datainf[captum]'"
    ) from None


class KMostInfluential(NamedTuple):
    """Of m queries the k training examples at one end of the order, the outermost first: rows
    [m, k], int64, and scores [m, k], float32; named as Captum's `KMostInfluentialResults`."""

    indices: Tensor
    influence_scores: Tensor


class DataInfInfluence(DataInfluence):  # type: ignore[misc]  # captum's types are not read
    """Scores by any of datainf's methods as Captum's `TracInCP` gives them: [m queries, n training
    examples], float32, positive for proponents, which training more on would lower the query's
    loss.

    Args and errors are those of `datainf.integrations.live.Attributor`; `options` are those of
    `datainf.attribute`, such as `{"damping": "0.1", "blocks": "module"}`. `gauss-newton` needs a
    task whose answers can be drawn, as those of pairs (input, class index) can, and those of the
    language models in `datainf.tasks`.
    """

    def __init__(
        self, model: nn.Module, train_dataset: Any, task: Task | None = None, *,
        out: str | Path | None = None, method: str | Estimator | None = None,
        options: Options | None = None,
    ) -> None:  # fmt: skip
        self.model, self.train_dataset = model, train_dataset
        self._attributor = Attributor(model, train_dataset, task, out, method, options or {})

    def influence(
        self, inputs: Any, k: int | None = None, proponents: bool = True
    ) -> Tensor | KMostInfluential:
        """Scores [m, n]; or with k the k highest of each query, or the k lowest.

        Args:
            inputs: A batch (inputs, labels), a mapping of columns, a data loader of such, or a list
                of examples.
            k: How many training examples, 1 … n; None: the scores of all.
            proponents: Whether of the highest scores, or else of the lowest.

        Raises `OptionError` for another k, and `InputError` for inputs of another form.
        """
        _require_whole(k)
        scores = self._attributor.scores(inputs)
        if k is None:
            return scores
        if not 1 <= k <= scores.shape[1]:
            raise OptionError(
                f"k is {k}, and there are {scores.shape[1]} training examples",
                remedy="one from 1 to so many; or None, for the scores of all",
            )
        found = scores.sort(dim=1, descending=proponents, stable=True)
        return KMostInfluential(found.indices[:, :k], found.values[:, :k])

    def self_influence(self) -> Tensor:
        """score(k, k) of every training example, [n], float32."""
        return self._attributor.self_influence()


def _require_whole(k: Any) -> None:
    if k is not None and not isinstance(k, Integral):
        raise OptionError(f"k is {k!r}", remedy="a whole number of training examples")
