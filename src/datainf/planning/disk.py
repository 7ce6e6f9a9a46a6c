"""Whether the stores of a run fit the disk, and in which form they would."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from datainf import words
from datainf.files import free_bytes
from datainf.gradients import PendingStore
from datainf.planning.compression import CHOICES, Compression, rows_of
from datainf.planning.plan import Disk, Form, Problem
from datainf.planning.stores import StorePlan

KEEP = 100
"""Scores of either end of a query's order, where all of them are too many."""


def forms_of(pending: Sequence[PendingStore], checkpoints: int) -> tuple[Form, ...]:
    """Every form that stores may be in, and the one that is asked for if it is another."""
    asked = Compression.of(pending[0].index)
    choices = CHOICES if asked in CHOICES else (asked, *CHOICES)
    return tuple(_form(choice, pending, checkpoints, choice == asked) for choice in choices)


def _form(choice: Compression, pending: Sequence[PendingStore], times: int, asked: bool) -> Form:
    stores = [(one, choice.rows(one)) for one in pending]
    return Form(
        options=choice.options,
        project=choice.project,
        bytes=times * sum(rows.missing_bytes(one) for one, found in stores for rows in found),
        in_full=times * sum(rows.index.n for _, found in stores for rows in found[1:]),
        asked=asked,
    )


def disk_of(folder: Path, stores: Sequence[StorePlan], scores: int, leftover: int) -> Disk:
    """`scores`: bytes of the files with scores; `leftover`: of files that make room for them."""
    missing = sum(store.missing_bytes for store in stores)
    return Disk(str(folder), free_bytes(folder) + leftover, missing, scores)


def problem_of(
    disk: Disk, forms: Sequence[Form], *, begun: bool, kept: int | None, limit: str | None
) -> Problem | None:
    """Why the stores and scores do not fit the disk; None if they do.

    `forms`: those that go with the other options. `begun`: whether there are stores in the folder,
    which can have no other form and no other examples. `kept`: bytes of the scores with `--keep`;
    None where it does not go with the other options. `limit`: the option that takes as many
    examples as fit, if some do.
    """
    if disk.fits:
        return None
    elsewhere = " in another --out" if begun else ""
    other = "free some space, and the same command goes on" if begun else "another --out"
    fewer = [] if limit is None else [f"{limit}{elsewhere}"]
    there = f"{words.size(disk.free)} are free in {disk.folder}"
    if disk.stores <= disk.free:
        helps = kept is not None and disk.stores + kept <= disk.free
        ends = [f"--keep {KEEP}, which keeps the ends of each query's order"] if helps else []
        return Problem(
            f"the scores take {words.size(disk.scores)} beside {words.size(disk.stores)} of "
            f"gradients; {there}",
            "; or ".join([*ends, other, *fewer]),
        )
    fitting = (
        f"{form.options} ({words.size(form.bytes)}){elsewhere}"
        for form in forms
        if form.bytes + disk.scores <= disk.free
    )
    remedies = [*islice(fitting, 1), other, *fewer]
    return Problem(f"the gradients take {words.size(disk.stores)}; {there}", "; or ".join(remedies))


def fewer(pending: PendingStore, checkpoints: int, scores: Callable[[int], int], room: int) -> int:
    """The most examples of a store, fewer than it has, whose gradients at all checkpoints and whose
    scores take no more bytes than there is room for; 0 if none do."""
    form = Compression.of(pending.index)

    def takes(n: int) -> int:
        index = form.index(replace(pending.index, n=n), pending.shard_rows)
        rows = rows_of(pending, index)
        return checkpoints * sum(one.missing_bytes(pending) for one in rows) + scores(n)

    return bisect(range(1, pending.index.n), room, key=takes)
