"""A run that is killed at random moments goes on to the bytes of one that was not.

    python -m reliability.kills --moments 100        # one process
    python -m reliability.kills --ranks 2 --moments 20

Each moment is drawn evenly over the time that the whole run takes, of several processes from when
the first store is there. A process of its own begins the run, has a SIGKILL then, and another goes
on with it; of several one is killed, and torchrun starts all of them again. What is left in the end
is compared, byte by byte, with what an undisturbed run left, and no file more may be there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from datainf.store import Index
from reliability.begun import go_on
from reliability.work import Work, contents

KEPT = Path(__file__).parent / "results"
RESTARTS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = trials(Path(folder), options.moments, options.ranks, options.seed)
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"kills-{options.ranks}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines(found)))


def trials(folder: Path, moments: int, ranks: int, seed: int) -> dict[str, Any]:
    work, chance = Work(folder / "work").make(), random.Random(seed)
    start = begin if ranks == 1 else begin_together
    whole = folder / "whole"
    require(start(work, folder / "first", ranks))  # the libraries are read
    process, began = start(work, whole, ranks), time.perf_counter()
    if ranks > 1:
        began = wait_for(whole, process)
    require(process)
    seconds = time.perf_counter() - began
    truth, found = contents(whole), []
    for place in range(moments):
        out = folder / f"run-{place}"
        moment = chance.uniform(0, seconds)
        found.append(trial(work, out, truth, moment, ranks, chance))
        shutil.rmtree(out)
    return {"ranks": ranks, "seconds": seconds, "trials": found}


def trial(
    work: Work, out: Path, truth: dict[str, bytes], moment: float, ranks: int, chance: random.Random
) -> dict[str, Any]:
    out.mkdir()
    start = begin if ranks == 1 else begin_together
    process = start(work, out, ranks)
    if ranks > 1:  # most of their time they get ready
        wait_for(out, process)
    time.sleep(moment)
    victim = process if ranks == 1 else chance.choice([process, *workers(process)])
    phase = phase_of(out)
    victim.kill()
    if ranks > 1 and victim.pid != process.pid:  # torchrun starts them again
        resumed = process.wait() == 0
    else:
        process.wait()
        for child in workers(process):
            child.kill()
        resumed = start(work, out, ranks).wait() == 0
    left = contents(out)
    differs = sorted(name for name in {*left, *truth} if left.get(name) != truth.get(name))
    return {
        "moment": moment, "phase": phase, "resumed": resumed, "identical": not differs,
        "differs": differs,
    }  # fmt: skip


def wait_for(out: Path, process: Any) -> float:
    """Until the first store is there; when that was."""
    while not (out / "train" / "index.json").exists() and process.poll() is None:
        time.sleep(0.005)
    return time.perf_counter()


class Begun:
    """A process as `subprocess` has them."""

    def __init__(self, process: Any) -> None:
        self.process, self.pid = process, process.pid

    def kill(self) -> None:
        self.process.kill()

    def wait(self) -> int:
        self.process.join()
        return int(self.process.exitcode)


def begin(work: Work, out: Path, _ranks: int) -> Begun:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reliability.begun"])
    process = context.Process(target=go_on, args=(work.config(out),))
    process.start()
    return Begun(process)


def begin_together(work: Work, out: Path, ranks: int) -> Any:
    """torchrun, which starts its processes again when one has died."""
    config = work.folder / f"{out.name}.yaml"
    work.config(out).save(config)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(ranks), "--max-restarts", str(RESTARTS), "-m", "datainf", "attribute", "--config",
        str(config), "--no-report",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return psutil.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def workers(process: Any) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def require(process: Any) -> None:
    if process.wait() != 0:
        raise SystemExit("the undisturbed run failed")


def phase_of(out: Path) -> str:
    """How far a run is, by what is on the disk."""
    if (out / "top.jsonl").exists():
        return "finished"
    if (out / "scores.safetensors").exists():
        return "writing"
    for name in ("curvature", "query", "train"):
        if (out / name / "index.json").exists():
            index = Index.load(out / name)
            if name == "curvature" and index.rows_done == index.n:
                return "scoring"
            return f"collecting {name}"
    return "starting"


def lines(found: dict[str, Any]) -> list[str]:
    """A table by how far the run was."""
    by_phase = Counter(one["phase"] for one in found["trials"])
    table = [
        "| killed while | moments | went on to the end | the same bytes |",
        "|---|---|---|---|",
    ]
    for phase, count in sorted(by_phase.items()):
        own = [one for one in found["trials"] if one["phase"] == phase]
        resumed, same = (sum(one[key] for one in own) for key in ("resumed", "identical"))
        table.append(f"| {phase} | {count} | {resumed} | {same} |")
    total = found["trials"]
    resumed, same = (sum(one[key] for one in total) for key in ("resumed", "identical"))
    return [*table, f"| all | {len(total)} | {resumed} | {same} |"]


if __name__ == "__main__":
    main()
