"""A fine-tuning as plain files, for a tool that runs elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.fidelity.problem import Problem
from experiments.fidelity.stores import SEED
from experiments.fidelity.training import train

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""Of a conversation, for tools that read prompt and completion as one: their texts as they are."""


def export(problem: Problem, folder: Path) -> None:
    """The adapter after its last step, the tokenizer, and the rows in order: `train.jsonl` and
    `query.jsonl` with tokens and labels, and with the texts too where there is a completion.

    Raises:
        ValueError: a fine-tuning of pictures, which are not tokens.
    """
    if problem.kind == "pictures":
        raise ValueError(f"{problem.name}: the tools compared read texts alone")
    model: Any = train(problem, range(len(problem.train)), SEED).model
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "adapter")
    tokenizer = problem.task.tokenizer  # type: ignore[attr-defined]
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder / "adapter")
    for name, rows in (("train", problem.train), ("query", problem.query)):
        lines = [json.dumps(_row(problem, tokenizer, row)) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "about.json").write_text(json.dumps({"kind": problem.kind}), encoding="utf-8")


def _row(problem: Problem, tokenizer: Any, row: Any) -> dict[str, Any]:
    batch = problem.task.collate([row])
    plain = {name: value[0].tolist() for name, value in batch.items()}
    if "completion" in row:
        completion = row["completion"] + tokenizer.eos_token
        plain |= {"prompt": row["prompt"], "completion": completion}
    return plain
