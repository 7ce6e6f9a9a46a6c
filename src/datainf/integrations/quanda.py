"""quanda's interface: an `Explainer` for its metrics and benchmarks. Needs
`pip install 'datainf[quanda]'`.

    from datainf.integrations.quanda import DataInfExplainer

    explainer = DataInfExplainer(model, train_dataset, method="datainf")
    explainer.explain(test_data, targets)  # [m, n]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from datainf.errors import InputError
from datainf.integrations.live import Attributor, Options
from datainf.tasks import Task

try:
    from quanda.explainers import Explainer
except ImportError:
    raise InputError(
        "datainf.integrations.quanda needs quanda", remedy="pip install 'datainf[quanda]'"
    ) from None


class DataInfExplainer(Explainer):  # type: ignore[misc]  # quanda's types are not read
    """Scores by any of datainf's methods, [test examples, training examples], positive = helpful.

    Args and errors are those of `datainf.integrations.live.Attributor`; `options` are those of
    `datainf.attribute`. `kind` is quanda's name of the task, `task` datainf's. `checkpoints` are
    files, and `checkpoints_load_func(model, file)` loads one of them and returns what it counts
    beside the others; quanda's own loads a state dict, and returns 1.
    """

    accepted_tasks = ["image_classification", "text_classification", "causal_lm"]  # noqa: RUF012

    def __init__(
        self, model: nn.Module, train_dataset: Any, task: Task | None = None, *,
        checkpoints: str | list[str] | None = None,
        checkpoints_load_func: Callable[[Any, str], Any] | None = None,
        kind: str = "image_classification", out: str | Path | None = None,
        method: str | None = None, options: Options | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            model=model, train_dataset=train_dataset, task=kind, checkpoints=checkpoints,
            checkpoints_load_func=checkpoints_load_func,
        )  # fmt: skip
        loads = [partial(self.checkpoints_load_func, model, file) for file in self.checkpoints]
        self._attributor = Attributor(model, train_dataset, task, out, method, options or {}, loads)

    def explain(self, test_data: Any, targets: Any) -> Tensor:
        """[m, n], on the model's device."""
        return self._attributor.scores((test_data, targets)).to(self.device)

    def self_influence(self, batch_size: int = 32) -> Tensor:  # noqa: ARG002 - quanda's signature
        """score(k, k) of every training example, [n]."""
        return self._attributor.self_influence().to(self.device)
