"""Every figure of benchmarks/RESULTS.md, by one command.

    python -m benchmarks --data FOLDER [SECTION ...] [--envs FOLDER [--tools TOOL ...]]
    python -m benchmarks --page      # nothing is measured, the page made of what is kept

DATA is a folder with GLUE's SST-2/ and MRPC/; ENVS one with an environment for every other tool
(see peers/README.md). Results are kept in results/, a file a section, and the page is made of all,
and of what `python -m benchmarks.gpu` found on a GPU. README.md says what the sections are.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import others
from benchmarks.gpu import parts as gpu
from benchmarks.machine import describe_machine

HERE = Path(__file__).parent
SECTIONS = {
    "start_up": "Start-up",
    "collection": "Collection beside training",
    "datainf_scores": "DataInf's scores",
    "paper_scale": "The paper's scale",
    "growth": "Memory and time by the number of examples",
    "compression": "Smaller stores",
    "viewer": "New queries in the viewer",
    "processes": "Several processes",
    "scale": "The cost model",
    "others": "Other tools",
}
ON_DATA = ("collection", "growth", "compression", "viewer", "processes", "scale")
"""Sections that are not whole without the data."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--envs", type=Path)
    parser.add_argument("--tools", nargs="+", metavar="TOOL", help=", ".join(others.RUNS))
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    chosen = [] if options.page else options.sections or list(SECTIONS)
    if options.data is None and (without := [name for name in chosen if name in ON_DATA]):
        parser.error(f"{', '.join(without)}: --data is needed, or their kept results would be lost")
    if lost := [tool for tool in options.tools or [] if not others.python_of(tool, options.envs)]:
        parser.error(f"no environment for {', '.join(lost)} in --envs {options.envs}")
    (HERE / "results").mkdir(exist_ok=True)
    for name in chosen:
        for found in measured(name, options):
            about = {"machine": describe_machine(), "found": found}
            kept(name).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        if kept(name).exists():
            print("\n".join(section(name)), flush=True)
    (HERE / "RESULTS.md").write_text(page(), encoding="utf-8")


def measured(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What a section found; of other tools after each of them, for they take long."""
    if name != "others":
        yield importlib.import_module(f"benchmarks.{name}").run(options.data)
        return
    known = json.loads(kept(name).read_text(encoding="utf-8")) if kept(name).exists() else {}
    yield from others.run(options.envs, options.tools, known.get("found", {}))


def kept(name: str) -> Path:
    return HERE / "results" / f"{name}.json"


def section(name: str) -> list[str]:
    """A section of the page, from its kept results."""
    about = json.loads(kept(name).read_text(encoding="utf-8"))
    module = importlib.import_module(f"benchmarks.{name}")
    intro = (module.__doc__ or "").partition("\n\n    ")[0].strip()
    return [f"## {SECTIONS[name]}", "", intro, "", *module.lines(about["found"]), "",
            about["machine"], ""]  # fmt: skip


def page() -> str:
    known = [name for name in SECTIONS if kept(name).exists()]
    head = [
        "# Results",
        "",
        "Made by `python -m benchmarks --data FOLDER`; see [README.md](README.md). Ratios are of "
        "ways that were timed in one run; a section says whether they had their turns in rounds, "
        "and how many.",
        "",
    ]
    body = [line for name in known for line in section(name)]
    return "\n".join([*head, *body, *gpu.section()])


if __name__ == "__main__":
    main()
