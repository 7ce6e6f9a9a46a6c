"""A small run that is done again and again: the demo's tiny base with a LoRA as it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import peft
import torch
import transformers

from datainf.config import RunConfig
from datainf.demos.demo import BASE
from datainf.provenance import RECORD

ROWS, QUERIES, SHARD_ROWS, DRAWN = 60, 4, 4, 20
WORDS = (
    "the", "quiet", "river", "sleeps", "under", "a", "pale", "moon", "while", "old", "boats",
    "drift", "past", "sleeping", "towns",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """Files and an adapter in a folder, and the settings of a run on them."""

    folder: Path
    rows: int = ROWS
    queries: int = QUERIES

    def make(self) -> Work:
        self.folder.mkdir(parents=True, exist_ok=True)
        transformers.utils.logging.disable_progress_bar()
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_pretrained(BASE)
        lora = peft.LoraConfig(
            r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
        )
        peft.get_peft_model(model, lora).save_pretrained(self.folder / "adapter")
        for name, count, start in (("train", self.rows, 0), ("query", self.queries, 7)):
            lines = (row(start + place) for place in range(count))
            (self.folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        return self

    def config(self, out: Path) -> RunConfig:
        return RunConfig(
            train=str(self.folder / "train.jsonl"), query=str(self.folder / "query.jsonl"),
            out=str(out), adapter=str(self.folder / "adapter"), seed=1, shard_rows=SHARD_ROWS,
            curvature_rows=DRAWN,
        )  # fmt: skip

    def attribute(self, out: Path) -> list[str]:
        """The arguments of `datainf` for a run, without the page."""
        return ["attribute", "--config", str(self.settings(out)), "--no-report"]

    def settings(self, out: Path) -> Path:
        """The settings of a run as a file, for commands."""
        path = self.folder / f"{out.parent.name}-{out.name}.yaml"
        self.config(out).save(path)
        return path


def run_folder(parent: Path) -> Path:
    """A new folder for a run, beside which its log has room."""
    (parent / "run").mkdir(parents=True)
    return parent / "run"


def row(place: int) -> str:
    """Texts of unlike lengths."""
    some = [WORDS[(place * 5 + i) % len(WORDS)] for i in range(3 + place % 9)]
    return f'{{"prompt": "{" ".join(some[:2])}", "completion": " {" ".join(some[2:])}"}}\n'


def contents(run: Path) -> dict[str, bytes]:
    """What a run leaves, but for run.yaml, which names its folder, and for what tells the time."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in ("run.yaml", ".lock", RECORD)
    }
