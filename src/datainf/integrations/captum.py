"""Captum's interface: `influence(inputs, k, proponents)`. Needs `pip install 'datainf[captum]'`.

from datainf.integrations.captum import DataInfInfluence

tracer = DataInfInfluence(model, train_dataset, method="datainf")
tracer.influence((inputs, labels), k=5)  # indices [m, 5] and influence_scores [m, 5]
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from datainf.errors import InputError, OptionError
from datainf.estimators import Estimator
from datainf.integrations.choices import Options
from datainf.integrations.live import Attributor, Moments
from datainf.progress import Progress
from datainf.tasks import Task

try:
    from captum.influence import DataInfluence
except ModuleNotFoundError as error:
    if error.name != "captum":
        raise  # Captum is there, and something that it stands on is not
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

    `influence` and `self_influence` take what `TracInCP`'s take, in its order, but for
    `outer_loop_by_checkpoints`. What differs:

    - The model is asked at the weights that it has, which count 1: there are no `checkpoints`, and
      no `checkpoints_load_func`, by whose learning rates `TracInCP` weighs its sum.
    - What it loses on an example is the task's, in place of `loss_fn` and `test_loss_fn`. Without a
      task an example is a pair (input, class index), not (input, input, …, label).
    - Parameters that require gradients are attributed, in place of `layers`.
    - Scores are on the CPU whatever the model is on, and of equal ones the training example that
      comes first does so in the k most influential, too.
    - k is at least 1, and an `OptionError` says so before any gradient.
    """

    def __init__(
        self, model: nn.Module, train_dataset: Any, task: Task | None = None, *,
        out: str | Path | None = None, method: str | Estimator | None = None,
        options: Options | None = None, second_moments: Moments | None = None,
    ) -> None:  # fmt: skip
        self.model, self.train_dataset = model, train_dataset
        self._attributor = Attributor(
            model, train_dataset, task, out, method, options or {}, second_moments=second_moments
        )

    def influence(
        self, inputs: Any, k: int | None = None, proponents: bool = True,
        show_progress: bool = False, aggregate: bool = False,
    ) -> Tensor | KMostInfluential:  # fmt: skip
        """Scores [m, n]; or with k the k highest of each query, or the k lowest.

        Args:
            inputs: A batch (inputs, labels), a mapping of columns, a data loader of such, or a list
                of examples.
            k: How many training examples, 1 or more; all n where there are fewer. None: the scores
                of all.
            proponents: Whether of the highest scores, or else of the lowest.
            show_progress: Whether to show how far it is, by bars of tqdm as Captum does.
            aggregate: Whether to add up the scores of all queries: [1, n], or the k [1, k] at one
                end of these sums.

        Raises `OptionError` for another k, before any gradient, and `InputError` for inputs of
        another form.
        """
        _require_number(k)
        scores = self._attributor.scores(inputs, _shown(show_progress))
        if aggregate:
            scores = scores.double().sum(dim=0, keepdim=True).float()
        if k is None:
            return scores
        found = scores.sort(dim=1, descending=proponents, stable=True)
        return KMostInfluential(found.indices[:, :k], found.values[:, :k])  # of fewer, all

    def self_influence(self, inputs: Any = None, show_progress: bool = False) -> Tensor:
        """score(k, k) of every training example, [n], float32, positive; or of the examples that
        are given, [m], of each what it would score for itself.

        To find wrong labels by it, choose `options={"normalize": "none"}`. By default `ridge`, the
        method for pairs (input, class index), scales every gradient to norm 1, and what
        self-influence tells of labels is the norm: scaled it ranks flipped labels before right ones
        with an AUC of about .4 to .6, where .5 is chance, and unscaled, as `TracInCP`'s, with one
        of .6 to .9, where labels can be learnt at all (experiments/RESULTS.md, benchmarks/sst2.md).

        Args:
            inputs: As `influence` takes them. They are scored in the curvature and the metric of
                the training data, which they are not added to. None: the training data.
            show_progress: Whether to show how far it is.

        Raises `InputError` for inputs of another form.
        """
        return self._attributor.self_influence(inputs, _shown(show_progress))


def _require_number(k: Any) -> None:
    """Raises `OptionError` for what is no number of training examples, and not None either."""
    if k is None:
        return
    if isinstance(k, bool) or not isinstance(k, Integral) or int(k) < 1:
        raise OptionError(
            f"k is {k!r}",
            remedy="a whole number of training examples, 1 or more; or None, for the scores of all",
        )


def _shown(show_progress: bool) -> Progress | None:
    return _Bars() if show_progress else None


class _Bars:
    """Stages as bars of tqdm, which Captum brings and shows its own by."""

    def stage(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        bar = tqdm(desc=what, total=total, initial=done)

        def advance(units: int) -> None:
            bar.update(units)
            if bar.n >= total:
                bar.close()  # or the next would be drawn over it

        return advance
