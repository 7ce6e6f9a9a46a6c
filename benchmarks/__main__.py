"""Every figure of benchmarks/RESULTS.md, by one command.

    python -m benchmarks --data FOLDER [SECTION ...] [--envs FOLDER]
    python -m benchmarks --page      # nothing is measured, the page made of what is kept

DATA is a folder with GLUE's SST-2/ and MRPC/; ENVS one with an environment for every other tool
(see peers/README.md). Results are kept in results/, a file a section, and the page is made of all,
and of what `python -m benchmarks.gpu` found on a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

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
    "scale": "The cost model",
    "others": "Other tools",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--envs", type=Path)
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    for name in [] if options.page else options.sections or SECTIONS:
        module = importlib.import_module(f"benchmarks.{name}")
        found = module.run(options.envs if name == "others" else options.data)
        if found:
            about = {"machine": describe_machine(), "found": found}
            path = HERE / "results" / f"{name}.json"
            path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            print("\n".join(section(name)), flush=True)
    write_page()


def section(name: str) -> list[str]:
    """A section of the page, from its kept results."""
    path = HERE / "results" / f"{name}.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    module = importlib.import_module(f"benchmarks.{name}")
    intro = (module.__doc__ or "").partition("\n\n    ")[0].strip()
    return [f"## {SECTIONS[name]}", "", intro, "", *module.lines(about["found"]), "",
            about["machine"], ""]  # fmt: skip


def write_page() -> None:
    known = [name for name in SECTIONS if (HERE / "results" / f"{name}.json").exists()]
    head = [
        "# Results",
        "",
        "Made by `python -m benchmarks --data FOLDER`; see [README.md](README.md). Every ratio is "
        "of ways that were timed in turn in one run, medians of five rounds or more unless a "
        "section says otherwise.",
        "",
    ]
    body = [line for name in known for line in section(name)]
    (HERE / "RESULTS.md").write_text("\n".join([*head, *body, *gpu.section()]), encoding="utf-8")


if __name__ == "__main__":
    main()
