"""Scoring and writing, killed at random moments, leave the files of a run that was not disturbed.

    python -m reliability.scoring --moments 60

The stores are there; what is killed is `datainf score RUN --method exact --out …`, or, every other
time, `datainf attribute`, which then scores and writes scores, tables and the page. Of each command
every phase has its share of the moments, as above, and the same command is given again. The files
that are left have the bytes of an undisturbed run's, and there is no file more.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from reliability import script
from reliability.kills import ALONE, Trial, killed
from reliability.phases import EXACT, SCORED, SHOWN, STARTING, measured
from reliability.processes import Command, ends_well
from reliability.work import Work, contents, run_folder

COMMANDS = {"score": SCORED, "attribute": SHOWN}


def trials(folder: Path, moments: int, seed: int, rows: int, queries: int) -> dict[str, Any]:
    work, chance = Work(folder / "work", rows=rows, queries=queries).make(), random.Random(seed)
    finished = _finished(work, folder)
    found: dict[str, Any] = {"rows": rows, "queries": queries, "seconds": {}, "trials": []}
    for name in COMMANDS:
        # One folder for all, which the page names.
        def begun(_: str, name: str = name) -> Trial:
            shutil.rmtree(folder / "trial", ignore_errors=True)
            run = shutil.copytree(finished, folder / "trial" / "run")
            if name == "score":
                arguments = ["score", str(run), "--method", "exact", "--out", str(run / EXACT)]
            else:
                _without_scores(run)
                arguments = ["attribute", "--config", str(work.settings(run))]
            return Trial(Command(arguments, run.parent / "log"), COMMANDS[name], run)

        first = begun("")
        measured(first.signs, first.command, first.run)  # the libraries are read
        whole = begun("")
        seconds = measured(whole.signs, whole.command, whole.run)
        truth = contents(whole.run)
        some = killed(begun, seconds, [ALONE], moments // len(COMMANDS), chance, truth)
        found["seconds"][name] = seconds
        found["trials"] += [{"command": name, **one} for one in some]
    return found


def _finished(work: Work, folder: Path) -> Path:
    """A run whose stores all are taken from."""
    run = run_folder(folder / "finished")
    if not ends_well(Command(work.attribute(run), folder / "log").begin()):
        raise SystemExit((folder / "log").read_text())
    return run


def _without_scores(run: Path) -> None:
    """As it is when all is collected."""
    for path in run.glob("*.*"):
        if path.name != "run.yaml":
            path.unlink()


def lines(found: dict[str, Any]) -> list[str]:
    """A table by the command and how far it was."""
    rows = []
    for name, signs in COMMANDS.items():
        for phase in (STARTING, *signs):
            own = [t for t in found["trials"] if (t["command"], t["phase"]) == (name, phase)]
            # Opening the stores takes no time beside.
            shown = "scoring" if (name, phase) == ("score", STARTING) else phase
            rows += [_row(f"datainf {name}", shown, own)] if own else []
    head = ["killed", "while", "moments", "went on to the end", "the same bytes"]
    return script.table(head, [*rows, _row("all", "", found["trials"])])


def _row(name: str, phase: str, trials: list[dict[str, Any]]) -> list[object]:
    ends = (sum(t[key] for t in trials) for key in ("resumed", "identical"))
    return [name, phase, len(trials), *ends]


if __name__ == "__main__":
    defaults = {"moments": 60, "seed": 0, "rows": 400, "queries": 60}
    script.main(__doc__, defaults, trials, lines, "scoring")
