"""Of two machines that work on one run, one is killed and started again: the run ends the same.

    python -m reliability.nodes --moments 8

Each is a network of its own with one address and a torchrun, and both see one folder. In turn a
worker is killed or torchrun itself, on the machine that hosts the rendezvous or on the other. A
torchrun that ended is given the same command again, and nothing else is done. In the end the stores
are compared with those of one process, byte by byte; so are all files with those of two machines
that nobody disturbed; and how far the scores are from those of one process is said.
"""

from __future__ import annotations

import itertools
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datainf.scores import Scores
from reliability import script
from reliability.kills import compared
from reliability.phases import FINISHED, STARTING, WHOLE, measured, phase_of, wait_for
from reliability.processes import (
    LIMIT,
    RESTARTS,
    Command,
    Process,
    ends_well,
    kill,
    outlived,
    strike,
    strike_worker,
    workers,
)
from reliability.work import Work, contents, run_folder

NAMES = ("datainf-a", "datainf-b")
LINKED, LOOPBACK = "a network namespace for each", "the loopback device of one machine"
PLACES, VICTIMS = ("the host of the rendezvous", "the other"), ("a worker", "torchrun")
IMPATIENT = ",keep_alive_interval=1,keep_alive_max_attempt=2"
"""Of the rendezvous: a torchrun that is silent for two seconds is gone; by default for fifteen."""
ALONE_FOR = 10.0
"""Seconds that one runs after the other's good end before it counts as waiting for it."""
MOST_STARTS = 6
"""Of one torchrun: a run that needs more does not go on."""


@dataclass(frozen=True)
class Machine:
    """Where a torchrun is started: behind `prefix`, at an address on a device."""

    address: str
    device: str
    prefix: Sequence[str] = ()


@contextmanager
def machines(*, linked: bool) -> Iterator[list[Machine]]:
    """Two, linked by a virtual cable, for which one has to be root; or on one loopback device."""
    if not linked:
        yield [Machine("127.0.0.1", "lo")] * 2
        return
    with ExitStack() as made:
        for name in NAMES:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)  # of a script that was killed
            _ip("netns", "add", name)
            made.callback(_ip, "netns", "del", name)
        a, b = NAMES
        _ip("-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b)
        for place, name in enumerate(NAMES):
            _ip("-n", name, "address", "add", f"10.77.0.{place + 1}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", name, "link", "set", device, "up")
        yield [Machine(f"10.77.0.{place + 1}", "cable", ("ip", "netns", "exec", name))
               for place, name in enumerate(NAMES)]  # fmt: skip


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def can_be_linked() -> bool:
    try:
        with machines(linked=True):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@dataclass
class Pair:
    """The same run by two torchruns, the first of which hosts the rendezvous."""

    commands: Sequence[Command]
    processes: list[Process] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def log(self) -> Path:
        """As the logs of both begin."""
        return self.commands[0].log.with_name("log")

    def begin(self) -> Pair:
        self.processes = [command.begin() for command in self.commands]
        return self

    def poll(self) -> int | None:
        """As of one process: ended when both are."""
        found = [process.poll() for process in self.processes]
        return None if None in found else max(map(abs, filter(None, found)), default=0)

    def again(self, place: int) -> None:
        self.starts[place] += 1
        self.processes[place] = self.commands[place].begin()

    @property
    def pid(self) -> int:
        return self.processes[0].pid

    def kill(self) -> None:
        for process in self.processes:
            for one in [*workers(process), process]:
                strike(one)

    def ends_well(self) -> bool:
        """Whether both do, where each that ends without success is given its command again; the
        other too if it has ended, though it be well: one alone would wait for it."""
        deadline, both_ran = time.monotonic() + LIMIT, time.monotonic()
        while (found := [process.poll() for process in self.processes]) != [0, 0]:
            now = time.monotonic()
            if now > deadline or max(self.starts) > MOST_STARTS:
                self.kill()
                return False
            if found == [None, None]:
                both_ran = now
            if any(found) or now - both_ran > ALONE_FOR:
                for place, status in enumerate(found):
                    if status is not None:
                        self.again(place)
            time.sleep(0.05)
        return True


def pair(work: Work, out: Path, two: Sequence[Machine], *, new: bool, conf: str = "") -> Pair:
    """The commands for a run; `conf` is more of the rendezvous's settings."""
    port = _free_port(two[0])
    commands = []
    for place, machine in enumerate(two):
        options = [
            "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(RESTARTS),
            "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{two[0].address}:{port}",
            "--rdzv-id", out.parent.name, "--local-addr", machine.address,
            "--rdzv-conf", f"is_host={str(place == 0).lower()}{conf}",
        ]  # fmt: skip
        environment = {
            "GLOO_SOCKET_IFNAME": machine.device, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }  # fmt: skip
        log, own = out.parent / f"log-{place}", work.attribute(out)
        commands.append(Command(own, log, options, new, machine.prefix, environment))
    return Pair(commands)


def _free_port(machine: Machine) -> int:
    if machine.prefix:
        return 29400
    with socket.socket() as taken:
        taken.bind((machine.address, 0))
        return int(taken.getsockname()[1])


def trials(
    folder: Path, moments: int, seed: int, rows: int, *, new: bool = True, conf: str = ""
) -> dict[str, Any]:
    work, chance = Work(folder / "work", rows=rows).make(), random.Random(seed)
    out = run_folder(folder / "alone")
    if not ends_well(Command(work.attribute(out), out.parent / "log").begin()):
        raise SystemExit((out.parent / "log").read_text())
    linked = new and can_be_linked()
    found: dict[str, Any] = {"network": LINKED if linked else LOOPBACK, "rows": rows, "trials": []}
    with machines(linked=linked) as two:
        whole = run_folder(folder / "whole")
        seconds = measured(WHOLE, pair(work, whole, two, new=new, conf=conf), whole)
        truth = contents(whole)
        kinds = itertools.cycle(itertools.product(PLACES, VICTIMS))
        phases = [phase for phase in seconds if phase not in (STARTING, FINISHED)]
        for turn, (place, victim) in zip(range(moments), kinds, strict=False):
            run = run_folder(folder / "trial")
            both, phase = pair(work, run, two, new=new, conf=conf), phases[turn % len(phases)]
            one = killed(both, run, phase, chance.uniform(0, seconds[phase]), place, victim)
            one |= compared(contents(run), truth) | beside(run, out)
            found["trials"].append(one)
            script.say(turn, moments, *(f"{name}: {value};" for name, value in one.items()))
            shutil.rmtree(run.parent)
    found["seconds"] = seconds
    return found


def killed(
    both: Pair, run: Path, phase: str, moment: float, place: str, victim: str
) -> dict[str, Any]:
    """Both begun, one killed in a phase, and what became of the run."""
    began = time.monotonic()
    wait_for(phase, WHOLE, run, both.log, both.begin())
    time.sleep(moment)
    at = PLACES.index(place)
    now, process, one = phase_of(WHOLE, run, both.log), both.processes[at], dict[str, Any]()
    if process.poll() is not None:
        now = FINISHED
    elif not (victim == VICTIMS[0] and strike_worker(process, 0, both.commands[at].log)):
        victim = VICTIMS[1]
        one["outlived"] = outlived(kill(process))
        both.again(at)
    went_on = both.ends_well()
    return {
        "phase": now, "place": place, "victim": victim, **one, "resumed": went_on,
        "starts": list(both.starts), "seconds": time.monotonic() - began,
    }  # fmt: skip


def beside(run: Path, alone: Path) -> dict[str, Any]:
    """Stores and scores beside those of one process."""
    stores = [name for name in contents(alone) if name.endswith(".safetensors") and "/" in name]
    one, other = contents(alone), contents(run)
    found: dict[str, Any] = {"stores": all(one[name] == other.get(name) for name in stores)}
    if (run / "scores.safetensors").exists():
        a, b = (Scores.load(folder / "scores.safetensors").values for folder in (alone, run))
        found["off"] = float((a - b).norm() / a.norm())
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """A row for each place and victim."""
    head = ["killed", "on", "moments", "went on to the end", "stores of one process",
            "all files of two undisturbed", "scores off those of one process, at most"]  # fmt: skip
    rows = []
    for place, victim in itertools.product(PLACES, VICTIMS):
        own = [t for t in found["trials"] if (t["place"], t["victim"]) == (place, victim)]
        if own:
            ends = (sum(t[key] for t in own) for key in ("resumed", "stores", "identical"))
            off = max(t.get("off", float("nan")) for t in own)
            rows.append([victim, place, len(own), *ends, f"{off:.1e}"])
    phases = sorted({t["phase"] for t in found["trials"]})
    told = f"On {found['network']}; killed while {', '.join(phases)}."
    return [*script.table(head, rows), "", told]


if __name__ == "__main__":
    script.main(__doc__, {"moments": 8, "seed": 0, "rows": 300}, trials, lines, "nodes")
