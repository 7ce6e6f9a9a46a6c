"""quanda's interface: an `Explainer` for its metrics and benchmarks. Needs
`pip install 'datainf[quanda]'`.

    from datainf.integrations.quanda import DataInfExplainer

    explainer = DataInfExplainer(model, train_dataset, method="datainf")
    explainer.explain(test_data, targets)  # [m, n]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from datainf.errors import InputError
from datainf.estimators import Estimator
from datainf.integrations.choices import Options
from datainf.integrations.live import Attributor, Moments
from datainf.integrations.rows import LABELS, by_number, rows_of
from datainf.tasks import CausalLM, ImageClassification, SequenceClassification, Task

try:
    from quanda.explainers import Explainer
except ModuleNotFoundError as error:
    if error.name != "quanda":
        raise  # quanda is there, and something that it stands on is not
    raise InputError(
        "datainf.integrations.quanda needs quanda", remedy="pip install 'datainf[quanda]'"
    ) from None


class DataInfExplainer(Explainer):  # type: ignore[misc]  # quanda's types are not read
    """Scores by any of datainf's methods, [test examples, training examples], positive = helpful.

    Args and errors are those of `datainf.integrations.live.Attributor`; `options` are those of
    `datainf.attribute`. `kind` is quanda's name of the task, `task` datainf's, which text needs:
    `SequenceClassification` for `text_classification`, say, and `CausalLM` for `causal_lm`, of rows
    with `input_ids` and `labels`. `checkpoints` are files, and `checkpoints_load_func(model, file)`
    loads one of them and returns what it counts beside the others; what is no number counts as 1,
    as of quanda's own, which loads a state dict. Scores are the mean over the checkpoints, weighted
    so, not the sum: `Attributor` says what that is beside Captum's. `second_moments` are one
    mapping, or a list of one for each checkpoint.

    Raises `InputError` for text without a task.
    """

    accepted_tasks = ["image_classification", "text_classification", "causal_lm"]  # noqa: RUF012

    def __init__(
        self, model: nn.Module, train_dataset: Any, task: Task | None = None, *,
        checkpoints: str | list[str] | None = None,
        checkpoints_load_func: Callable[[Any, str], Any] | None = None,
        kind: str = "image_classification", out: str | Path | None = None,
        method: str | Estimator | None = None, options: Options | None = None,
        second_moments: Moments | list[Moments] | None = None,
    ) -> None:  # fmt: skip
        train = by_number(train_dataset)
        super().__init__(
            model=model, train_dataset=train, task=kind, checkpoints=checkpoints,
            checkpoints_load_func=checkpoints_load_func,
        )  # fmt: skip
        if task is None and kind != "image_classification":
            raise InputError(
                f"{kind} needs a task that reads text",
                remedy="task=datainf.tasks.SequenceClassification(tokenizer), CausalLM(tokenizer), "
                "or another that fits the data",
            )
        self._reads_label = isinstance(task, SequenceClassification | ImageClassification)
        train = _Labelled(train) if self._reads_label else train
        loads = [partial(self.checkpoints_load_func, model, file) for file in self.checkpoints]
        self._attributor = Attributor(
            model, train, task, out, method, options or {}, loads, second_moments
        )

    def explain(self, test_data: Any, targets: Any) -> Tensor:
        """[m, n], float32, on the model's device.

        Args:
            test_data: Inputs: a tensor [m, …], tensors [m, …] by column, or a list of mappings.
            targets: A label of each, [m], or of each of its tokens, [m, T]: what is explained,
                whatever `label` or `labels` the inputs have of their own. None where these are it.

        Raises `InputError` for inputs of another form, or of another number than the targets, and
        for targets of texts that `CausalLM` would tokenise itself, and so take its own.
        """
        rows = rows_of((test_data, targets), self._attributor.like)
        if self._reads_label:
            rows = [_labelled(row, anew=targets is not None) for row in rows]
        if targets is not None and isinstance(self._attributor.task, CausalLM):
            _require_tokens(rows)
        return self._attributor.scores(rows).to(self.device)

    def self_influence(self, batch_size: int = 32) -> Tensor:  # noqa: ARG002 - quanda's signature
        """score(k, k) of every training example, [n], float32, positive, on the model's device.

        For quanda's metrics of wrong labels, choose `options={"normalize": "none"}`. By default
        `ridge` scales every gradient to norm 1, and what self-influence tells of labels is the
        norm: scaled it ranks flipped labels before right ones with an AUC of about .4 to .6, where
        .5 is chance, and unscaled, where labels can be learnt at all, with one of .6 to .9
        (experiments/RESULTS.md, benchmarks/sst2.md).
        """
        return self._attributor.self_influence().to(self.device)


class _Labelled:
    """Rows whose `labels` a task reads as `label`, each as it is asked for."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        return _labelled(self.rows[place])


def _labelled(row: Any, *, anew: bool = False) -> Any:
    """With its `labels` as `label`, which a row that has one keeps unless it is to be `anew`."""
    if isinstance(row, Mapping) and LABELS in row and (anew or "label" not in row):
        return {**row, "label": row[LABELS]}
    return row


def _require_tokens(rows: list[Any]) -> None:
    """Raises `InputError` where a row's `labels` would have no part in the loss."""
    if any(isinstance(row, Mapping) and "input_ids" not in row for row in rows):
        raise InputError(
            "the targets are of tokens, and the inputs are texts, which bring targets of their own",
            remedy="inputs with input_ids; or the targets None",
        )
