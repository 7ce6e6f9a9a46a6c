"""A person's own training, as a command or a function: some rows in, an adapter out.

    command     python train.py --train {data} --seed {seed} --out {out}
    function    train.py:train, called as train(data, seed, out)

`data` is a file or folder with some of the training rows, in the form that all of them have;
`seed` a number; `out` a folder for the adapter, or for a Trainer's output, of which the last
checkpoint counts. What lies there afterwards is read as the run's own adapter was, and the queries'
losses are taken; then it is deleted. After a failure all stays, with what was said in training.log.
"""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from datainf.checkpoints import find
from datainf.config import RunConfig
from datainf.data import Examples
from datainf.errors import ModelError, OptionError, TrainingError
from datainf.files import make_folder
from datainf.fingerprint import digest, file_digest
from datainf.gradients.losses import LOSS_TOKENS, losses
from datainf.models import PIPELINE_INDEX, PIPELINE_LORA
from datainf.run_gradients import load_model_and_task

LOG, TAIL = "training.log", 12
"""What a command says goes there; so many of its last lines are shown if it fails."""
ADAPTERS = ("adapter_config.json", PIPELINE_LORA)
MODELS = ("config.json", PIPELINE_INDEX)
"""Any of these makes a folder an adapter, or a model."""
_LOADING = threading.Lock()
"""transformers sets torch's default dtype while it loads a model, for all threads."""


class Training(Protocol):
    """A training on the rows in `data`, which leaves an adapter in `out`."""

    def __call__(self, data: Path, seed: int, out: Path) -> None: ...

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What it is, as plain values: a truth made by another is refused."""
        ...


@dataclass(frozen=True)
class Command:
    """A command with {data}, {seed} and {out} in it, run without a shell.

    Raises `OptionError` if one of these is missing, or anything else stands in braces.
    """

    template: str

    def __post_init__(self) -> None:
        try:
            words = self._words(Path("data"), 0, Path("out"))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise OptionError(
                f"the command {self.template!r} cannot be filled in: {error}",
                remedy="{data}, {seed} and {out}; other braces doubled, {{ }}",
            ) from None
        for name in ("data", "seed", "out"):
            if f"{{{name}}}" not in self.template or not words:
                raise OptionError(
                    f"the command {self.template!r} lacks {{{name}}}",
                    remedy="python train.py --train {data} --seed {seed} --out {out}",
                )

    def _words(self, data: Path, seed: int, out: Path) -> list[str]:
        words = shlex.split(self.template)
        return [word.format(data=data, seed=seed, out=out) for word in words]

    def __call__(self, data: Path, seed: int, out: Path) -> None:
        words = self._words(data, seed, out)
        log = out.parent / LOG
        log.unlink(missing_ok=True)  # it may be a link, which would be written through
        with log.open("w", encoding="utf-8") as said:
            try:
                done = subprocess.run(words, stdout=said, stderr=subprocess.STDOUT, check=False)
            except OSError as error:
                raise TrainingError(
                    f"cannot run {words[0]}: {error.strerror}", remedy="a program that is there"
                ) from None
        if done.returncode:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
            raise TrainingError(
                f"{shlex.join(words)} ended with {done.returncode}:\n" + "\n".join(lines),
                remedy=f"all of it is in {log}; the command can be run by hand, for its data are "
                "kept too. Trainings that were finished are not done again",
            )

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The command, and the bytes of the files that it names; of a program in machine code, such
        as python, its name alone."""
        program, *rest = (Path(word) for word in shlex.split(self.template))
        named = rest if program.is_file() and _is_binary(program) else [program, *rest]
        return {
            "command": self.template,
            "files": {str(file): file_digest(file) for file in named if file.is_file()},
        }


def _is_binary(file: Path) -> bool:
    with file.open("rb") as opened:
        return b"\0" in opened.read(1024)


@dataclass(frozen=True)
class Function:
    """FILE.py:NAME, a function of data, seed and out.

    Raises `OptionError` if there is no such file or function.
    """

    place: str

    def __post_init__(self) -> None:
        file, _, name = self.place.rpartition(":")
        if not file.endswith(".py") or not Path(file).is_file():
            raise OptionError(
                f"{self.place!r} names no file with a function", remedy="train.py:train"
            )
        if not callable(getattr(self._module, name, None)):
            raise OptionError(f"{file} has no function {name!r}")

    @cached_property
    def _module(self) -> Any:
        file = Path(self.place.rpartition(":")[0])
        spec = importlib.util.spec_from_file_location(f"_train_again_{file.stem}", file)
        if spec is None or spec.loader is None:
            raise OptionError(f"{file} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        sys.path.insert(0, str(file.parent.absolute()))  # as if the file were run
        spec.loader.exec_module(module)
        return module

    def __call__(self, data: Path, seed: int, out: Path) -> None:
        train: Callable[..., Any] = getattr(self._module, self.place.rpartition(":")[2])
        try:
            train(data, seed, out)
        except Exception as error:
            raise TrainingError(
                f"{self.place} failed: {type(error).__name__}: {error}",
                remedy=f"its data are kept in {data}. Trainings that were finished are not done "
                "again",
            ) from error

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The function's name and its file's bytes; what the file imports is not looked at."""
        file, _, name = self.place.rpartition(":")
        return {"function": name, "file": file_digest(Path(file))}


@dataclass(frozen=True)
class TrainAgain:
    """(rows, seed) → the queries' losses, by a person's training and the run's model and task."""

    training: Training
    config: RunConfig
    train: Examples
    query: Examples
    work: Path
    losses_of: Mapping[str, Any] = field(default_factory=dict)
    """What the losses are of: the fingerprints of base and task, the dtype."""

    def __call__(self, rows: list[int], seed: int) -> Sequence[float]:
        """Raises `TrainingError`, or whatever the person's function raises."""
        name = digest([rows, seed])[:16]
        for stale in self.work.glob(f"{name}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        make_folder(self.work)
        # A folder of its own: the command of a process that was killed may write on in its old one.
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.work.absolute()))
        make_folder(folder / "out")
        self.training(self.train.write(rows, folder / "data"), seed, folder / "out")
        with _LOADING:
            found = self.losses(folder / "out")
        shutil.rmtree(folder, ignore_errors=True)
        return found

    def losses(self, out: Path) -> Sequence[float]:
        """The queries', by the adapter or the model in a folder."""
        adapted = self.config.adapter is not None
        place = _trained_in(out, ADAPTERS if adapted else MODELS)
        if adapted:
            config = replace(self.config, adapter=str(place), checkpoints=None)
        else:
            config = replace(self.config, model=str(place))
        try:
            model, task = load_model_and_task(config, self.train, lambda _: None)
        except ModelError as error:
            raise TrainingError(f"what the training left: {error.message}") from None
        found: list[float] = losses(
            model, self.query, task, batch_tokens=config.batch_tokens or LOSS_TOKENS
        ).tolist()
        return found

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the losses, as plain values."""
        return {
            **self.training.recipe,
            "train": self.train.digest,
            "query": self.query.digest,
            "rows": [len(self.train), len(self.query)],
            "losses of": self.losses_of,
        }


def _trained_in(out: Path, names: Sequence[str]) -> Path:
    """The folder itself, or the last checkpoint in it."""
    if any((out / name).is_file() for name in names):
        return out
    if checkpoints := find(out):
        return checkpoints[-1]
    there = ", ".join(sorted(path.name for path in out.iterdir())) or "nothing"
    raise TrainingError(
        f"the training left none of {', '.join(names)} in {out}: there is {there}",
        remedy="model.save_pretrained(out) at its end, of a whole model its tokenizer too",
    )
