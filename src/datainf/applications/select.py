"""Which training examples to go on with: the worst dropped, or the best kept.

A measure ranks the examples, higher = sooner dropped. A number of them is dropped or kept, a share,
or what is above a threshold; of each class alike if they are to stay balanced; of near-duplicates
the best alone if they are to be diverse. What a person has decided comes before all of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from scipy.stats import rankdata
from torch import Tensor

from datainf.applications.neighbours import nearest, without_near_duplicates
from datainf.errors import OptionError

Decision = Literal["keep", "drop", "relabel"]


@dataclass(frozen=True)
class Amount:
    """How many: a number, or a share of all. Raises `OptionError` for what is neither."""

    number: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        number, share = self.number, self.share
        if (number is None) == (share is None) or (number or 0) < 0 or not 0 <= (share or 0) <= 1:
            raise OptionError(
                f"an amount of {number if share is None else share}",
                remedy="a number from 0, or a share from 0 to 1",
            )

    @classmethod
    def parse(cls, text: str | int | float) -> Amount:
        """From "200" or "10%". Raises `OptionError` for anything else."""
        plain = str(text).strip()
        try:
            if plain.endswith("%"):
                share = float(plain[:-1]) / 100
                if 0 <= share <= 1:
                    return cls(share=share)
            elif int(plain) >= 0:
                return cls(number=int(plain))
        except ValueError:
            pass
        raise OptionError(
            f"cannot read the amount {plain!r}", remedy="a number, 200, or a share, 0% to 100%"
        )

    def __str__(self) -> str:
        return f"{self.number:,}" if self.share is None else f"{100 * self.share:g}%"

    def of(self, count: int) -> int:
        """Of so many; no more than these."""
        wanted = round(self.share * count) if self.share is not None else self.number
        return min(count, wanted or 0)


@dataclass(frozen=True)
class Decided:
    """What a person decided of an example; `label` where it is to have another."""

    decision: Decision
    label: str | None = None


@dataclass(frozen=True)
class Selection:
    """Of n examples: `kept` rows in the data's order; `reasons` of those that are dropped, by row;
    `labels` that are to be others, by row; `weights` [n] for a sampler, float32: 0 for what is
    dropped, and of the rest the less the sooner it would have been dropped, with the mean 1; what a
    person kept or corrected weighs as much as the best."""

    kept: list[int]
    reasons: dict[int, str]
    labels: dict[int, str] = field(default_factory=dict)
    weights: Tensor = field(default_factory=lambda: torch.empty(0))


def select(
    measure: Tensor,
    *,
    drop: Amount | None = None,
    keep: Amount | None = None,
    above: float | None = None,
    classes: Sequence[Any] | None = None,
    directions: Tensor | None = None,
    similarity: float = 0.95,
    decided: Mapping[int, Decided] | None = None,
    name: str = "the measure",
) -> Selection:
    """Choose among n examples.

    Args:
        measure: [n], higher = sooner dropped; infinite for what was skipped.
        drop: How many to drop, the worst.
        keep: How many to keep, the best, in its place. Those of one measure go in the order in
            which `Suspects.order` has them.
        above: Drop those whose measure is above it.
        classes: Of each example; of each the same share is dropped or kept, and one at least stays.
        directions: Of the examples, [n, c], see `applications.neighbours`; then of those whose
            cosine is above `similarity`, the best alone stays: as many as `keep` says that are not
            alike, or of what is left when the worst are dropped.
        decided: What a person has decided, by row. It comes before all else, and counts in how many
            are dropped or kept.
        name: Of the measure, for the reasons.

    Raises `OptionError` as `require_choice` does; for a measure that is not a number; and where
    nothing would stay.
    """
    decided, n = decided or {}, len(measure)
    require_choice(drop, keep, above, diverse=directions is not None, decided=bool(decided))
    _check(measure, decided)
    reasons = _certain(measure, above, decided, name)
    fixed = {row for row, one in decided.items() if one.decision != "drop"}
    order = torch.sort(measure.double(), descending=True, stable=True).indices.flip(0)
    wanted = n - drop.of(n) if drop is not None else n if keep is None else keep.of(n)
    likes = None if directions is None else (directions, similarity)
    groups = _groups(order, classes)
    quotas = shared(wanted, [len(group) for group in groups.values()])
    for (label, group), own in zip(groups.items(), quotas, strict=True):
        # A person's decisions come first: what is kept stays, also of two that are near-duplicates.
        ranked = sorted((row for row in group if row not in reasons), key=lambda r: r not in fixed)
        pinned = sum(row in fixed for row in ranked)
        most, worst = max(own, pinned), _Worst(group, measure, name, label)
        if likes is None or drop is not None:
            reasons |= {row: worst(row) for row in ranked[most:]}
            ranked = ranked[:most]
        if likes is not None:
            reasons |= _alike(ranked, pinned, most, likes, worst)
    kept = [row for row in range(n) if row not in reasons]
    if not kept:
        raise OptionError(
            "nothing would stay", remedy="drop fewer" if keep is None else "keep more"
        )
    labels = {r: str(d.label) for r, d in decided.items() if d.decision == "relabel"}
    return Selection(kept, reasons, labels, _weights(measure, kept, fixed))


def shared(wanted: int, sizes: Sequence[int]) -> list[int]:
    """How many of each of some classes are kept, that it be the same share of each and `wanted` in
    all: the largest remainders are rounded up. One at least, where there are so many."""
    total = max(1, sum(sizes))
    exact = [wanted * size / total for size in sizes]
    found = [int(own) for own in exact]
    left = sorted(range(len(sizes)), key=lambda i: (found[i] - exact[i], i))
    for place in left[: wanted - sum(found)]:
        found[place] += 1
    if wanted >= len(sizes):
        for place in [i for i, own in enumerate(found) if own == 0 and sizes[i] > 0]:
            found[found.index(max(found))] -= 1
            found[place] = 1
    return found


def require_choice(
    drop: Amount | None, keep: Amount | None, above: float | None, *, diverse: bool, decided: bool
) -> None:
    """Raises `OptionError` where nothing is asked for, or both to drop and to keep, or what is
    above a threshold that is none. `diverse`: near-duplicates go; `decided`: some were decided."""
    if drop is not None and keep is not None:
        raise OptionError("both how many to drop and how many to keep", remedy="one of the two")
    if drop is None and keep is None and above is None and not diverse and not decided:
        raise OptionError(
            "nothing to select by", remedy="--drop 10%, --keep 1000, --above 0.5, --diverse or "
            "--decisions FILE"
        )  # fmt: skip
    if above is not None and math.isnan(above):
        raise OptionError("the threshold is not a number", remedy="a number")


def _check(measure: Tensor, decided: Mapping[int, Decided]) -> None:
    if measure.isnan().any():
        raise OptionError("the measure is not a number for every example")
    if unknown := [row for row in decided if not 0 <= row < len(measure)]:
        raise OptionError(f"there is no row {unknown[0]} of {len(measure)}")


def _certain(
    measure: Tensor, above: float | None, decided: Mapping[int, Decided], name: str
) -> dict[int, str]:
    """Why some go, however many are to stay."""
    reasons = {r: "decided by a person" for r, one in decided.items() if one.decision == "drop"}
    if above is not None:
        for row in (measure > above).nonzero().flatten().tolist():
            if row not in decided:
                reasons[row] = f"{name} {float(measure[row]):.4g} is above {above:g}"
    return reasons


def _groups(order: Tensor, classes: Sequence[Any] | None) -> dict[str, list[int]]:
    """Rows in their order, by class if they have one."""
    groups: dict[str, list[int]] = {}
    for row in order.tolist():
        groups.setdefault("" if classes is None else str(classes[row]), []).append(row)
    return groups


@dataclass(frozen=True)
class _Worst:
    """Says of a row where it stands in its group, whose rows are the best first."""

    group: list[int]
    measure: Tensor
    name: str
    label: str

    @cached_property
    def ranks(self) -> dict[int, int]:
        return {row: place for place, row in enumerate(reversed(self.group), start=1)}

    def __call__(self, row: int) -> str:
        of = f"{len(self.group):,}" + (f" with the label {self.label}" if self.label else "")
        place = f"{self.ranks[row]:,} of {of}"
        return f"{place} by {self.name}, {float(self.measure[row]):.4g}"


def _alike(
    ranked: list[int], pinned: int, most: int, likes: tuple[Tensor, float], worst: _Worst
) -> dict[int, str]:
    """Why rows do not stay, of which no two alike do but the first, which are `pinned`; and no more
    than `most`."""
    Z, similarity = likes
    order = torch.tensor(ranked, dtype=torch.int64)
    stay = without_near_duplicates(Z, order, similarity, most, pinned)
    there, before, reasons, alike = set(stay.tolist()), 0, dict[int, str](), dict[int, int]()
    for row in ranked:
        if row in there:
            before += 1
        elif before == most:  # enough are there, and it was not compared with them
            reasons[row] = worst(row)
        else:
            alike[row] = before
    others, cosines = nearest(Z, list(alike), stay, list(alike.values()))
    for row, other, cosine in zip(alike, others.tolist(), cosines.tolist(), strict=True):
        reasons[row] = (
            f"near-duplicate of row {other}, a better one (cosine {cosine:.3g}, "
            f"above {similarity:g})"
        )
    return reasons


def _weights(measure: Tensor, kept: Sequence[int], fixed: Collection[int]) -> Tensor:
    weights, own = torch.zeros(len(measure)), measure[list(kept)].double()
    own[[place for place, row in enumerate(kept) if row in fixed]] = own.min()
    ranks = torch.from_numpy(rankdata(own.numpy(), "min"))
    share = (1 - (ranks - 0.5) / len(kept)).float()
    weights[list(kept)] = share * len(measure) / share.sum()
    return weights
