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
from datainf.integrations.live import Attributor
from datainf.integrations.rows import LABELS, by_number, rows_of
from datainf.tasks import SequenceClassification, Task

try:
    from quanda.explainers import Explainer
except ImportError:
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
    as of quanda's own, which loads a state dict.

    Raises `InputError` for text without a task.
    """

    accepted_tasks = ["image_classification", "text_classification", "causal_lm"]  # noqa: RUF012

    def __init__(
        self, model: nn.Module, train_dataset: Any, task: Task | None = None, *,
        checkpoints: str | list[str] | None = None,
        checkpoints_load_func: Callable[[Any, str], Any] | None = None,
        kind: str = "image_classification", out: str | Path | None = None,
        method: str | Estimator | None = None, options: Options | None = None,
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
        self._reads_label = isinstance(task, SequenceClassification)
        train = _Labelled(train) if self._reads_label else train
        loads = [partial(self.checkpoints_load_func, model, file) for file in self.checkpoints]
        self._attributor = Attributor(model, train, task, out, method, options or {}, loads)

    def explain(self, test_data: Any, targets: Any) -> Tensor:
        """[m, n], float32, on the model's device.

        Args:
            test_data: Inputs: a tensor [m, …], tensors [m, …] by column, or a list of mappings.
            targets: A label of each, [m], or of each of its tokens, [m, T]. None where the columns
                have them, as `labels`.

        Raises `InputError` for inputs of another form, or of another number than the targets.
        """
        rows = rows_of((test_data, targets))
        rows = [_labelled(row) for row in rows] if self._reads_label else rows
        return self._attributor.scores(rows).to(self.device)

    def self_influence(self, batch_size: int = 32) -> Tensor:  # noqa: ARG002 - quanda's signature
        """score(k, k) of every training example, [n], float32, on the model's device."""
        return self._attributor.self_influence().to(self.device)


class _Labelled:
    """Rows whose `labels` a task reads as `label`, each as it is asked for."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        return _labelled(self.rows[place])


def _labelled(row: Any) -> Any:
    if isinstance(row, Mapping) and LABELS in row and "label" not in row:
        return {**row, "label": row[LABELS]}
    return row
