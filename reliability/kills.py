"""A run that is killed at random moments goes on to the bytes of one that was not.

    python -m reliability.kills --moments 120              # one process
    python -m reliability.kills --ranks 2 --moments 40     # several
    python -m reliability.kills --ranks 4 --moments 20

Each moment is drawn in two steps: a phase of the run, of which each has its share of the moments,
and a time in it, evenly over what the phase takes undisturbed. A process begins the run, has a
SIGKILL then, and another goes on with it. Of several processes, by `torchrun --max-restarts 3`, in
each phase in turn one of these is killed: a worker, upon which torchrun starts all of them again;
the first of them, which holds the lock and writes the index; or torchrun itself, upon which they
have to end by themselves before the same command is given again. What is left in the end is
compared, byte by byte, with what an undisturbed run of as many processes left, and no file more may
be there.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reliability import script
from reliability.phases import FINISHED, STARTING, WHOLE, Sign, measured, phase_of, wait_for
from reliability.processes import (
    Command,
    Process,
    ends_well,
    kill,
    locks_are_free,
    of_ranks,
    outlived,
    strike_worker,
)
from reliability.work import Work, contents, run_folder

ALONE, TORCHRUN, FIRST, OTHER = "alone", "torchrun", "the first", "another"
"""Who is killed."""
WORKERS = {FIRST: 0, OTHER: -1}
"""The place of a victim among the processes that torchrun started."""


@dataclass(frozen=True)
class Trial:
    """A command that is killed in one of its phases and given again; `run` is its folder."""

    command: Command
    signs: Mapping[str, Sign]
    run: Path

    def begin_until(self, phase: str, moment: float) -> Process:
        """The command, a moment after the phase has begun, or at its end."""
        process = self.command.begin()
        wait_for(phase, self.signs, self.run, self.command.log, process)
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.0005)
        return process

    def kill(self, process: Process, victim: str) -> dict[str, Any]:
        """Kill one, and see that the run ends well nevertheless."""
        phase, found = phase_of(self.signs, self.run, self.command.log), dict[str, Any]()
        if process.poll() is not None:
            phase = FINISHED
        elif victim not in WORKERS or not strike_worker(process, WORKERS[victim], self.command.log):
            victim, left = ALONE if victim == ALONE else TORCHRUN, kill(process)
            if victim == TORCHRUN:
                found["outlived"] = outlived(left)
            found["free"] = locks_are_free(self.run)
        went_on = ends_well(process if victim in WORKERS else self.command.begin())
        return {"phase": phase, "victim": victim, **found, "resumed": went_on}


def trials(folder: Path, moments: int, ranks: int, seed: int, rows: int) -> dict[str, Any]:
    work = Work(folder / "work", rows=rows).make()
    victims = [ALONE] if ranks == 1 else [TORCHRUN, FIRST, OTHER]

    def begun(name: str) -> Trial:
        out = run_folder(folder / name)
        return Trial(Command(work.attribute(out), out.parent / "log", of_ranks(ranks)), WHOLE, out)

    first, whole = begun("first"), begun("whole")
    measured(first.signs, first.command, first.run)  # the libraries are read
    seconds = measured(whole.signs, whole.command, whole.run)
    found = killed(begun, seconds, victims, moments, random.Random(seed), contents(whole.run))
    return {"ranks": ranks, "rows": rows, "seconds": seconds, "trials": found}


def killed(
    begun: Any, seconds: Mapping[str, float], victims: list[str], moments: int,
    chance: random.Random, truth: Mapping[str, bytes],
) -> list[dict[str, Any]]:  # fmt: skip
    """So many trials, each phase with each victim in turn; `truth` is what is to be left."""
    found, phases = [], [phase for phase in seconds if phase != FINISHED]
    for place in range(moments):
        trial = begun("trial")
        lap, at = divmod(place, len(phases))
        phase, victim = phases[at], victims[(place + lap) % len(victims)]
        moment = chance.uniform(0, seconds[phase])
        process = trial.begin_until(phase, moment)
        one = trial.kill(process, victim)
        one |= {"moment": moment} | compared(contents(trial.run), truth)
        found.append(one)
        script.say(place, moments, *(f"{name}: {value};" for name, value in one.items()))
        shutil.rmtree(trial.run.parent)
    return found


def compared(left: Mapping[str, bytes], truth: Mapping[str, bytes]) -> dict[str, Any]:
    """Whether the same files with the same bytes are left."""
    differs = sorted(name for name in {*left, *truth} if left.get(name) != truth.get(name))
    return {"identical": not differs, "differs": differs}


def lines(found: dict[str, Any]) -> list[str]:
    """A table by how far the run was, and what became of processes that lost their torchrun."""
    several = found["ranks"] > 1
    own = [f"{victim} killed" for victim in (OTHER, FIRST, TORCHRUN)] if several else []
    head = ["killed while", "moments", *own, "went on to the end", "the same bytes"]
    phases = [STARTING, *WHOLE]
    there = [phase for phase in phases if any(t["phase"] == phase for t in found["trials"])]
    rows = [row(phase, [t for t in found["trials"] if t["phase"] == phase], several)
            for phase in there]  # fmt: skip
    told = script.table(head, [*rows, row("all", found["trials"], several)])
    return [*told, "", after(found["trials"])] if several else told


def row(name: str, trials: list[dict[str, Any]], several: bool) -> list[object]:
    own = [sum(t.get("victim") == victim for t in trials) for victim in (OTHER, FIRST, TORCHRUN)]
    ends = [sum(t[key] for t in trials) for key in ("resumed", "identical")]
    return [name, len(trials), *(own if several else []), *ends]


def after(trials: list[dict[str, Any]]) -> str:
    """Of those that were left without their torchrun."""
    left = [t for t in trials if "outlived" in t]
    seconds = [t["outlived"] for t in left]
    ended = [one for one in seconds if one is not None]
    return (
        f"After torchrun was killed, {len(left)} times, its processes ended by themselves "
        f"{len(ended)} times, within {max(ended, default=0):.1f} s, and the locks of the stores "
        f"were free then {sum(t['free'] for t in left)} times."
    )


if __name__ == "__main__":
    script.main(
        __doc__, {"moments": 120, "ranks": 1, "seed": 0, "rows": 150}, trials, lines,
        "kills-{ranks}",
    )  # fmt: skip
