"""The demo: fine-tune a small model on sentence transformations, then ask what taught it each.

The task is the paper's (section 4.3): ten transformations, 90 training and 10 test phrases each.
A method does well if, for a test example, it ranks the training examples of the same
transformation first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datainf.attribution import DEFAULT_METHOD, attribute
from datainf.config import RunConfig
from datainf.data import Examples
from datainf.demos.claim import claim
from datainf.demos.finetune import Tuning, finetune, mean_loss
from datainf.demos.transformations import write
from datainf.evaluation import ClassDetection, class_detection
from datainf.progress import Progress, Silent
from datainf.report import write_report
from datainf.run_stores import CURVATURE
from datainf.runs import Run, run
from datainf.store import GradientStore
from datainf.views import Normalize

BASE = Path(__file__).parent / "base"
TINY = Tuning(epochs=1, learning_rate=3e-3)
"""One epoch, because each class still has something to teach then: at the end of a long training
the gradients of a class sum to nearly nothing, so that half of its examples score as harmful to
their own kind."""
LARGE = Tuning(epochs=3, learning_rate=3e-4)
"""For a base of a person's own; the paper's learning rate."""
METHODS: dict[str, tuple[str, Normalize | None]] = {
    "gauss-newton": ("gauss-newton", None),
    "datainf": ("datainf", None),
    "gradient": ("gradient", None),
    "cosine": ("gradient", "unit"),
    "exact": ("exact", None),
}
"""Name in the demo → method and normalisation, None its own."""


@dataclass(frozen=True)
class MethodResult:
    """How one method did, and how long its scoring took, in seconds."""

    detection: ClassDetection
    seconds: float


@dataclass(frozen=True)
class DemoResult:
    """The run by `gauss-newton`, each method's result, the class of every query, and the run's
    page."""

    run: Run
    methods: dict[str, MethodResult]
    query_classes: list[str]
    report: Path


def run_demo(
    out: Path,
    *,
    model: str | None = None,
    hard: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DemoResult:
    """Generate the data, fine-tune, attribute, and judge some methods.

    Args:
        out: Folder for data, adapter and run. The same demo run again reuses what is there.
        model: Base to fine-tune, folder or hub id; None takes the one that is shipped.
        hard: Leave the transformation's name out of the prompt.
        seed: Of data and fine-tuning.

    Raises `OptionError` if the folder holds something else.
    """
    progress = progress or Silent()
    base = model or str(BASE)
    claim(out, {"model": model, "hard": hard, "seed": seed})
    train_file, test_file = write(out, seed=seed, hard=hard)
    tuning = TINY if model is None else LARGE
    adapter = _adapter(base, tuning, train_file, out / "adapter", seed, progress, say)
    config = RunConfig(
        train=str(train_file), query=str(test_file), out=str(out / "run"), model=base,
        adapter=str(adapter), seed=seed, top=3,
    )  # fmt: skip
    started = time.perf_counter()
    finished = run(config, progress=progress, say=say)
    say(f"gradients and scores: {time.perf_counter() - started:.1f} s")
    tuned = float(finished.query_losses.mean())
    say(f"mean loss on the test examples: {mean_loss(base, test_file):.2f} → {tuned:.2f}")
    classes = [_classes(finished.query), _classes(finished.train)]
    methods = {
        name: _judge(out / "run", method, normalize, classes)
        for name, (method, normalize) in METHODS.items()
    }
    say(f"{finished.scores.method} chose the training examples that are shown beside test examples")
    report = write_report(out / "run", progress=progress, say=say)
    return DemoResult(finished, methods, classes[0], report)


def _adapter(
    base: str,
    tuning: Tuning,
    train_file: Path,
    out: Path,
    seed: int,
    progress: Progress,
    say: Callable[[str], None],
) -> Path:
    if (out / "adapter_config.json").exists():
        say(f"{out}: the adapter of an earlier demo is used again")
        return out
    advance: Callable[[int], None] | None = None
    last = 0

    def report(done: int, total: int) -> None:
        nonlocal advance, last
        advance = advance or progress.stage("fine-tuning", total)
        advance(done - last)
        last = done

    started = time.perf_counter()
    finetune(base, train_file, out, tuning, seed=seed, progress=report)
    say(f"{out}: LoRA fine-tuned in {time.perf_counter() - started:.1f} s")
    return out


def _classes(examples: Examples) -> list[str]:
    return [str(examples.raw(row)["class"]) for row in range(len(examples))]


def _judge(
    folder: Path, method: str, normalize: Normalize | None, classes: list[list[str]]
) -> MethodResult:
    train, query = GradientStore.open(folder / "train"), GradientStore.open(folder / "query")
    drawn = GradientStore.open(folder / CURVATURE) if method == DEFAULT_METHOD else None
    started = time.perf_counter()
    scores = attribute(train, query, method, curvature=drawn, normalize=normalize)
    seconds = time.perf_counter() - started
    return MethodResult(class_detection(scores.values, classes[0], classes[1]), seconds)
