"""The parts of what a GPU is measured on, and their results."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Part:
    """title: of its section; module: in this package, with FULL sizes by part, a TOY one, `run` and
    `lines`; limit: seconds after which it is broken off."""

    title: str
    module: str
    limit: int

    @property
    def code(self) -> Any:
        return importlib.import_module(f"benchmarks.gpu.{self.module}")


PARTS = {
    "llama7b": Part("Llama-2-7B", "llama", 200),
    "llama13b": Part("Llama-2-13B", "llama", 240),
    "scoring": Part("DataInf's scores", "scoring", 120),
    "exact": Part("Exact scores", "exact", 150),
    "diffusion": Part("Stable Diffusion 1.5", "diffusion", 100),
}


def keep(name: str, found: dict[str, Any], results: Path) -> None:
    """A part's figures so far, with what they were measured on."""
    results.mkdir(parents=True, exist_ok=True)
    about = {"machine": describe_machine(), "found": found}
    (results / f"gpu-{name}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def shown(name: str, found: dict[str, Any]) -> list[str]:
    """A part's figures as a page has them."""
    part = PARTS[name]
    return [f"### {part.title}", "", part.code.__doc__.strip(), "", *part.code.lines(found), ""]


def section(results: Path = RESULTS) -> list[str]:
    """All parts of which there are figures, under one head."""
    body = []
    for name in PARTS:
        path = results / f"gpu-{name}.json"
        if path.exists():
            about = json.loads(path.read_text(encoding="utf-8"))
            body += [*shown(name, about["found"]), about["machine"], ""]
    return ["## On a GPU", "", "Medians of three rounds.", "", *body] if body else []
