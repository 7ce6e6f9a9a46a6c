"""Memory stays flat over many examples.

    python -m reliability.soak --rows 100000

`datainf attribute` on so many small examples and twenty queries, from collection to the page, and
the same on a tenth of them. Twice a second the memory of the process is read: what is its own
(anonymous), without the pages of files that are mapped, which the system takes back when it needs
them. Growth is that of the last tenth of the training rows over the second: what is kept of each
example until the end, its text above all.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from datainf import words
from datainf.store import Index
from reliability import script
from reliability.phases import FINISHED, STORED, Sign, phase_of, there
from reliability.work import Work, row

EVERY = 0.5
TENTHS = 10
PHASES: dict[str, Sign] = STORED | {
    "writing the page": there("top.jsonl"), FINISHED: there("report.html"),
}  # fmt: skip


def soak(folder: Path, rows: int) -> dict[str, Any]:
    return {"runs": [one_run(folder / str(n), n) for n in (rows // 10, rows)]}


def one_run(folder: Path, rows: int) -> dict[str, Any]:
    """The seconds and the most bytes of each phase, and bytes at each tenth of the rows."""
    work = Work(folder, queries=20).make()
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(row(place) for place in range(rows))
    out, log = folder / "run", folder / "log"
    command = [
        sys.executable, "-m", "datainf", "attribute", "--adapter", str(folder / "adapter"),
        "--train", str(folder / "train.jsonl"), "--query", str(folder / "query.jsonl"),
        "--out", str(out),
    ]  # fmt: skip
    with log.open("w") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told)
    seconds, most = dict[str, float](), dict[str, int]()
    at_tenths, before = dict[str, int](), time.monotonic()
    while process.poll() is None:
        time.sleep(EVERY)
        now, used = time.monotonic(), own_bytes(process.pid)
        phase = phase_of(PHASES, out, log)
        seconds[phase] = seconds.get(phase, 0.0) + now - before
        most[phase] = max(used, most.get(phase, 0))
        if phase == "collecting train":
            at_tenths[str(TENTHS * Index.load(out / "train").rows_done // rows)] = used
        before = now
    if process.returncode != 0:
        raise SystemExit(log.read_text(encoding="utf-8"))
    print(words.count(rows, "example"), most, flush=True)
    return {
        "rows": rows, "seconds": seconds, "bytes": most, "tenths": at_tenths,
        "stored": sum(path.stat().st_size for path in out.rglob("*.safetensors")),
        "page": (out / "report.html").stat().st_size, "queries": work.queries,
    }  # fmt: skip


def own_bytes(process: int) -> int:
    """Anonymous memory of a process, as Linux counts it; elsewhere all that is resident."""
    status = Path(f"/proc/{process}/status")
    try:
        lines = status.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        return psutil.Process(process).memory_info().rss if psutil.pid_exists(process) else 0


def growth(run: dict[str, Any]) -> int:
    """Bytes that the process has more in the last tenth of the training rows than in the second."""
    tenths: dict[str, int] = run["tenths"]
    known = sorted(int(tenth) for tenth in tenths if int(tenth) >= 1)
    return tenths[str(known[-1])] - tenths[str(known[0])]


def changed(by: int) -> str:
    return f"{'grew' if by >= 0 else 'shrank'} by {words.size(abs(by))}"


def lines(found: dict[str, Any]) -> list[str]:
    """A row a phase, with both runs beside each other."""
    small, large = found["runs"]
    head = ["while"]
    for run in (small, large):
        head += [f"{run['rows']:,} examples: time", "most memory"]
    rows = [
        [phase, *cells(small, phase), *cells(large, phase)]
        for phase in ("starting", *PHASES) if phase in large["bytes"] and phase != FINISHED
    ]  # fmt: skip
    told = [
        f"The {large['rows']:,} have {words.size(large['stored'])} of gradients and scores on the "
        f"disk, and a page of {words.size(large['page'])}. From the second to the last tenth of "
        f"the training rows memory {changed(growth(large))}, "
        f"{round(growth(large) / large['rows'])} bytes an example.",
        "",
    ]
    return told + script.table(head, rows)


def cells(run: dict[str, Any], phase: str) -> list[str]:
    if phase not in run["bytes"]:
        return ["–", "–"]
    return [words.duration(run["seconds"][phase]), words.size(run["bytes"][phase])]


if __name__ == "__main__":
    script.main(__doc__, {"rows": 100_000}, soak, lines, "soak")
