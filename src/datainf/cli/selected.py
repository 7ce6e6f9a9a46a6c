"""What `datainf select` says of a selection."""

from __future__ import annotations

from pathlib import Path

from datainf import words
from datainf.applications.select import Amount, Selection
from datainf.cli.console import console, say
from datainf.data import Examples

MANY_ALIKE = 0.2
"""More near-duplicates than this share of all are seldom what is meant."""
NAMED = 5
"""Labels that are named; of more their number is said."""


def tell_idle(drop: Amount | None, keep: Amount | None, n: int) -> None:
    """Say it of an amount by which none of n examples is dropped."""
    if drop is not None and drop.of(n) == 0:
        say(f"--drop {drop} of {words.count(n, 'example')} is none")
    if keep is not None and keep.of(n) == n:
        say(f"--keep {keep} of {words.count(n, 'example')} is all of them")


def tell(
    chosen: Selection, train: Examples, likeness: float, data: Path, out: Path, *, balances: bool
) -> None:
    """How many stay, and what a person may not have meant; then where the data are. `balances`:
    whether --balance could have kept some of each label."""
    if train.split is not None and Path(train.source).is_dir():
        say(f"the selection is of the split {train.split}; any others are in {data} as they were")
    alike = sum(why.startswith("near-duplicate") for why in chosen.reasons.values())
    if alike > MANY_ALIKE * len(train):
        say(
            f"{alike:,} of {len(train):,} are near-duplicates: gradients of a small model, or of "
            f"one class, are much alike; a --similarity above {likeness:g} drops fewer"
        )
    if gone := _gone(chosen, train):
        named = gone if len(gone) <= NAMED else [*gone[:NAMED], f"{len(gone) - NAMED} others"]
        say(
            f"no example is left with the {'label' if len(gone) == 1 else 'labels'} "
            f"{words.listed(named)}"
            f"{'; --balance drops or keeps the same share of each' if balances else ''}"
        )
    duplicates = f" ({alike:,} as near-duplicates)" if alike else ""
    relabelled = f", {len(chosen.labels):,} relabelled" if chosen.labels else ""
    why = f"; why is in {out / 'manifest.jsonl'}" if chosen.reasons or chosen.labels else ""
    say(
        f"{words.count(len(chosen.kept), 'example')} kept, {len(chosen.reasons):,} dropped"
        f"{duplicates}{relabelled}{why}"
    )
    console().print(str(data), markup=False, soft_wrap=True)


def _gone(chosen: Selection, train: Examples) -> list[str]:
    """Classes that no example has any more."""
    if "label" not in train.columns or train.largest_label is not None:
        return []
    own = train.labels
    if any(isinstance(label, list) for label in own):
        return []
    new = {row: train.as_label(row, text) for row, text in chosen.labels.items()}
    left = {str(new.get(row, own[row])) for row in chosen.kept}
    there = (str(label) for label in own if label is not None)
    return [label for label in dict.fromkeys(there) if label not in left]
