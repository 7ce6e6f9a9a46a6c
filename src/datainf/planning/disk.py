"""Whether the stores of a run fit the disk, and in which form they would."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from datainf import words
from datainf.files import free_bytes
from datainf.gradients import PendingStore
from datainf.planning.compression import CHOICES, Compression
from datainf.planning.plan import Disk, Form, Problem
from datainf.planning.stores import StorePlan


def forms_of(pending: Sequence[PendingStore], checkpoints: int) -> tuple[Form, ...]:
    """Every form that stores may be in, and the one that is asked for if it is another."""
    asked = Compression.of(pending[0].index)
    choices = CHOICES if asked in CHOICES else (asked, *CHOICES)
    return tuple(_form(choice, pending, checkpoints, choice == asked) for choice in choices)


def _form(choice: Compression, pending: Sequence[PendingStore], times: int, asked: bool) -> Form:
    stores = [(one, choice.rows(one)) for one in pending]
    return Form(
        options=choice.options,
        bytes=times * sum(rows.missing_bytes(one) for one, found in stores for rows in found),
        in_full=times * sum(rows.index.n for _, found in stores for rows in found[1:]),
        asked=asked,
    )


def disk_of(folder: Path, stores: Sequence[StorePlan], scores: int) -> Disk:
    """`scores`: bytes of the files with scores."""
    return Disk(
        str(folder), free_bytes(folder), sum(store.missing_bytes for store in stores), scores
    )  # fmt: skip


def problem_of(
    disk: Disk, forms: Sequence[Form], *, begun: bool, projects: bool, limit: str
) -> Problem | None:
    """Why the stores and scores do not fit the disk; None if they do. `begun`: whether there are
    stores in the folder, which cannot have another form; `projects`: whether a projection goes with
    the other options; `limit`: the option that takes fewer examples."""
    if disk.needed <= disk.free:
        return None
    there = f"{words.size(disk.free)} are free in {disk.folder}"
    if disk.stores <= disk.free:
        return Problem(
            f"the scores take {words.size(disk.scores)} beside {words.size(disk.stores)} of "
            f"gradients; {there}",
            f"--keep 100, which keeps the ends of each query's order; or another --out; or {limit}",
        )
    elsewhere = " in another --out" if begun else ""
    fitting = (
        f"{form.options} ({words.size(form.bytes)}){elsewhere}"
        for form in forms
        if form.bytes + disk.scores <= disk.free and (projects or "--project" not in form.options)
    )
    other = "free some space, and the same command goes on" if begun else "another --out"
    remedies = [*islice(fitting, 1), other, limit]
    return Problem(f"the gradients take {words.size(disk.stores)}; {there}", "; or ".join(remedies))
