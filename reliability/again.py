"""A run that is killed ten times in a row leaves no more behind than one that was killed once.

    python -m reliability.again --runs 6 --kills 10
    python -m reliability.again --runs 3 --kills 10 --ranks 2

Each start goes on until it writes, and for a time that is drawn, long enough to take some
gradients, and is killed; of several processes torchrun is, and every other start is one process
alone, so that they go on with each other's work. Counted are the bytes on the disk after each kill,
in the share of those that a finished run has, and the files that were not finished then. Then the
run is left to end.
"""

from __future__ import annotations

import random
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from reliability import script
from reliability.kills import compared
from reliability.phases import FINISHED, STARTING, WHOLE, measured, phase_of
from reliability.processes import (
    LOOK,
    Command,
    ends_well,
    kill,
    locks_are_free,
    of_ranks,
    outlived,
)
from reliability.work import Work, contents, run_folder

UNFINISHED = ".tmp"


def trials(folder: Path, runs: int, kills: int, ranks: int, seed: int, rows: int) -> dict[str, Any]:
    work, chance = Work(folder / "work", rows=rows).make(), random.Random(seed)

    def command(out: Path, ranks: int) -> Command:
        return Command(work.attribute(out), out.parent / "log", of_ranks(ranks))

    seconds, truth = dict[int, dict[str, float]](), dict[str, bytes]()
    for name, count in (("first", 1), ("alone", 1), ("together", ranks)):
        out = run_folder(folder / name)
        seconds[count] = measured(WHOLE, command(out, count), out)
        truth = contents(out)  # of as many processes as end a run
    whole, found = sum(map(len, truth.values())), []
    for place in range(runs):
        out = run_folder(folder / "trial")
        after = []
        for turn in range(kills):
            count = (1, ranks)[turn % 2]
            after.append(_killed(command(out, count), out, seconds[count], kills, chance))
        resumed = ends_well(command(out, ranks).begin())
        one = {"after": after, "resumed": resumed, **compared(contents(out), truth)}
        found.append(one)
        told = {name: one[name] for name in ("resumed", "identical", "differs")}
        script.say(place, runs, told, [(a["phase"], a["bytes"], a["unfinished"]) for a in after])
        shutil.rmtree(out.parent)
    return {"ranks": ranks, "rows": rows, "bytes": whole, "trials": found}


def _killed(
    command: Command, out: Path, seconds: dict[str, float], kills: int, chance: random.Random
) -> dict[str, Any]:
    """A start that is killed after some of the gradients that the others leave to take."""
    work = sum(time for phase, time in seconds.items() if phase != STARTING)
    before, process = _written(out), command.begin()
    while process.poll() is None and _written(out) == before:
        time.sleep(LOOK)
    time.sleep(chance.uniform(0, 2 * work / kills))
    phase = phase_of(WHOLE, out, command.log)
    gone = outlived(kill(process)) is not None
    left = contents(out)
    return {
        "phase": phase,
        "gone": gone,
        "free": locks_are_free(out),
        "bytes": sum(map(len, left.values())),
        "unfinished": sum(name.endswith(UNFINISHED) for name in left),
    }


def _written(out: Path) -> set[tuple[Path, int]]:
    """Shards and scores, be they finished or not, with their sizes."""
    found = set()
    for file in out.rglob("*.safetensors*"):
        with suppress(FileNotFoundError):  # renamed meanwhile
            found.add((file, file.stat().st_size))
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """A row for the runs of so many processes."""
    runs = found["trials"]
    after = [one for run in runs for one in run["after"]]
    before = [one for one in after if one["phase"] != FINISHED]
    head = ["processes", "runs", "kills", "of these before the end", "most files unfinished",
            "most bytes", "processes gone", "locks free", "went on to the end",
            "the same bytes"]  # fmt: skip
    most = max(one["bytes"] for one in after) / found["bytes"]
    row = [
        "1" if found["ranks"] == 1 else f"1 and {found['ranks']} in turn", len(runs), len(after),
        len(before), max(one["unfinished"] for one in after), f"{most:.0%}",
        *(sum(one[name] for one in after) for name in ("gone", "free")),
        *(sum(run[name] for run in runs) for name in ("resumed", "identical")),
    ]  # fmt: skip
    return script.table(head, [row])


if __name__ == "__main__":
    defaults = {"runs": 6, "kills": 10, "ranks": 1, "seed": 0, "rows": 150}
    script.main(__doc__, defaults, trials, lines, "again-{ranks}")
