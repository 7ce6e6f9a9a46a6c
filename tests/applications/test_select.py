"""What stays, what goes and why."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datainf.applications.mislabeled import Suspects
from datainf.applications.neighbours import Neighbours
from datainf.applications.select import Amount, Decided, select, shared
from datainf.errors import OptionError

MEASURE = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.3, 0.2])


def test_the_worst_are_dropped():
    found = select(MEASURE, drop=Amount(number=2), name="loss")
    assert found.kept == [0, 2, 4, 5]
    assert found.reasons == {1: "1 of 6 by loss, 0.9", 3: "2 of 6 by loss, 0.7"}


def test_the_best_are_kept():
    assert select(MEASURE, keep=Amount(share=0.5)).kept == [0, 4, 5]
    assert select(MEASURE, keep=Amount(number=100)).kept == list(range(6))


def test_what_is_above_a_threshold():
    found = select(MEASURE, above=0.5, name="suspicion")
    assert found.kept == [0, 2, 4, 5]
    assert found.reasons[1] == "suspicion 0.9 is above 0.5"


def test_threshold_and_number_together_drop_the_union():
    assert select(MEASURE, above=0.6, drop=Amount(number=1)).kept == [0, 2, 4, 5]
    assert select(MEASURE, above=0.8, drop=Amount(number=3)).kept == [0, 4, 5]


def test_each_class_alike():
    classes = ["a", "a", "a", "b", "b", "b"]
    found = select(MEASURE, drop=Amount(share=1 / 3), classes=classes)
    assert found.kept == [0, 2, 4, 5]
    assert found.reasons[1] == "1 of 3 with the label a by the measure, 0.9"
    worse_class = torch.tensor([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    assert select(worse_class, drop=Amount(share=1 / 3)).kept == [0, 1, 2, 3]
    assert select(worse_class, drop=Amount(share=1 / 3), classes=classes).kept == [0, 1, 3, 4]


def test_a_number_is_of_all_classes_together():
    classes = ["a", "a", "a", "a", "b", "b"]
    assert select(MEASURE, drop=Amount(number=3), classes=classes).kept == [0, 2, 5]
    assert len(select(MEASURE, keep=Amount(number=3), classes=classes).kept) == 3
    assert shared(3, [4, 2]) == [2, 1]
    assert shared(20, [98, 2]) == [19, 1], "of a small class one stays"
    assert shared(1, [5, 5]) == [1, 0]
    assert shared(7, [3, 3, 1]) == [3, 3, 1]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 100))
def test_classes_are_cut_alike(sizes, percent):
    wanted = round(sum(sizes) * percent / 100)
    found = shared(wanted, sizes)
    assert sum(found) == wanted
    assert all(0 <= own <= size for own, size in zip(found, sizes, strict=True))
    assert wanted < len(sizes) or min(found) >= 1


def test_what_a_person_decided_counts():
    decided = {4: Decided("drop"), 1: Decided("keep")}
    assert select(MEASURE, keep=Amount(number=3), decided=decided).kept == [0, 1, 5]
    assert select(MEASURE, drop=Amount(number=2), decided=decided).kept == [0, 1, 2, 5]
    far = torch.eye(6)
    assert select(MEASURE, keep=Amount(number=3), decided=decided, directions=far).kept == [0, 1, 5]
    many = {row: Decided("keep") for row in range(4)}
    assert select(MEASURE, keep=Amount(number=1), decided=many).kept == [0, 1, 2, 3]


def test_of_near_duplicates_the_best_stays():
    Z = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 0], [-1, 0]])
    found = select(MEASURE, directions=Z)
    assert found.kept == [0, 3, 5]
    why = "near-duplicate of row 0, a better one (cosine 1, above 0.95)"
    assert found.reasons[4] == why
    found = select(MEASURE, directions=Z, keep=Amount(number=3))
    assert found.kept == [0, 3, 5]
    assert "near-duplicate" in found.reasons[4]
    assert found.reasons[1] == "1 of 6 by the measure, 0.9"


def test_the_worst_go_first_and_then_what_is_alike():
    """Near-duplicates are not taken for the worst that are to be dropped."""
    Z = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, -1], [1, 0], [-1, 0]])
    found = select(MEASURE, directions=Z, drop=Amount(number=2))
    assert found.kept == [0, 5]
    assert found.reasons[1] == "1 of 6 by the measure, 0.9"
    assert found.reasons[3] == "2 of 6 by the measure, 0.7"
    assert all("near-duplicate of row 0" in found.reasons[row] for row in (2, 4))


def test_what_is_alike_and_both_kept_by_a_person_stays():
    decided = {0: Decided("keep"), 4: Decided("keep")}
    found = select(MEASURE, directions=torch.ones(6, 1), decided=decided)
    assert found.kept == [0, 4]


def test_what_a_person_kept_counts_though_it_is_alike():
    """In how many are kept, and in what is like one that stays."""
    decided = {0: Decided("keep"), 4: Decided("keep")}
    Z = torch.eye(6)
    Z[4] = Z[0]
    found = select(MEASURE, directions=Z, keep=Amount(number=3), decided=decided)
    assert found.kept == [0, 4, 5]
    angles = torch.tensor([0.0, 0.28, 0.5])  # neighbours are alike, the outer ones not
    Z = torch.stack([angles.cos(), angles.sin()], dim=1)
    decided = {0: Decided("keep"), 1: Decided("keep")}
    found = select(torch.tensor([0.1, 0.2, 0.3]), directions=Z, decided=decided)
    assert found.kept == [0, 1]
    assert found.reasons[2].startswith("near-duplicate of row 1")


def test_no_two_directions_are_more_than_alike():
    """Of rounding, an inner product of directions is above 1."""
    torch.manual_seed(0)
    Z = torch.nn.functional.normalize(torch.randn(20, 300).repeat(2, 1), dim=1)
    assert float((Z @ Z.T).max()) > 1
    found = select(torch.arange(40.0), directions=Z, similarity=1, drop=Amount(number=1))
    assert found.kept == list(range(39))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, float("inf")]), min_size=2, max_size=20), st.data())
def test_the_first_suspects_are_the_first_to_go(values, data):
    """Also of those that are as suspect as each other."""
    measure, near = (
        torch.tensor(values, dtype=torch.float64),
        Neighbours(torch.empty(0), torch.empty(0)),
    )
    number = data.draw(st.integers(1, len(values) - 1))
    first = Suspects({}, measure, near).order[:number]
    assert set(select(measure, drop=Amount(number=number)).reasons) == set(first)


def test_decisions_come_before_all_else():
    decided = {1: Decided("keep"), 0: Decided("drop"), 2: Decided("relabel", "cat")}
    found = select(MEASURE, drop=Amount(number=2), decided=decided)
    assert found.kept == [1, 2, 4, 5]
    assert found.reasons[0] == "decided by a person"
    assert found.labels == {2: "cat"}
    alone = select(MEASURE, decided={0: Decided("drop")})
    assert alone.kept == [1, 2, 3, 4, 5]


def test_of_near_duplicates_the_one_that_a_person_left_stays():
    Z = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 0], [-1, 0]])
    decided = {0: Decided("drop"), 1: Decided("keep")}
    found = select(MEASURE, directions=Z, decided=decided)
    assert found.kept == [1, 4, 5], "4 for 0, and 1 for 3"


def test_the_weights_are_for_a_sampler():
    found = select(MEASURE, drop=Amount(number=1))
    assert found.weights[1] == 0
    kept = found.weights[found.kept]
    assert (kept > 0).all()
    assert float(found.weights.mean()) == pytest.approx(1)
    assert torch.equal(kept.argsort(), (-MEASURE[found.kept]).argsort()), "better ones more often"


def test_what_a_person_kept_weighs_as_the_best():
    decided = {1: Decided("keep"), 3: Decided("relabel", "cat")}
    weights = select(MEASURE, drop=Amount(number=1), decided=decided).weights
    assert weights[1] == weights[3] == weights[0] == weights.max()
    assert weights[4] < weights[5] < weights[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 40), st.booleans())
def test_every_row_stays_or_has_a_reason(values, count, keeps):
    measure = torch.tensor(values, dtype=torch.float64)
    amount = {"keep": Amount(number=max(1, count))} if keeps else {
        "drop": Amount(number=min(count, len(values) - 1))}  # fmt: skip
    found = select(measure, **amount)
    assert sorted([*found.kept, *found.reasons]) == list(range(len(values)))
    wanted = min(len(values), max(1, count)) if keeps else len(values) - min(count, len(values) - 1)
    assert len(found.kept) == wanted
    worst_kept = max(measure[row] for row in found.kept)
    assert all(measure[row] >= worst_kept for row in found.reasons)


@pytest.mark.parametrize(("text", "truth"), [
    ("10%", Amount(share=0.1)), ("200", Amount(number=200)), ("0", Amount(number=0)),
    ("12.5 %", Amount(share=0.125)), (" 7 ", Amount(number=7)), ("100%", Amount(share=1.0)),
])  # fmt: skip
def test_amounts(text, truth):
    assert Amount.parse(text) == truth


@pytest.mark.parametrize("amount", [
    {}, {"number": 1, "share": 0.5}, {"number": -1}, {"share": -0.1}, {"share": 1.1},
    {"share": float("nan")},
])  # fmt: skip
def test_an_amount_is_one(amount):
    with pytest.raises(OptionError, match="an amount of"):
        Amount(**amount)


@pytest.mark.parametrize("text", ["", "-1", "101%", "-3%", "ten", "1.5", "nan%", "%", "inf%"])
def test_nonsense_amounts(text):
    with pytest.raises(OptionError, match="cannot read the amount"):
        Amount.parse(text)


@pytest.mark.parametrize(("options", "what"), [
    ({}, "nothing to select by"),
    ({"drop": Amount(number=1), "keep": Amount(number=1)}, "both how many"),
    ({"drop": Amount(number=6)}, "nothing would stay"),
    ({"keep": Amount(number=0)}, "keep more"),
    ({"above": float("nan")}, "not a number"),
    ({"decided": {6: Decided("drop")}}, "no row 6 of 6"),
])  # fmt: skip
def test_nonsense_is_refused(options, what):
    with pytest.raises(OptionError, match=what):
        select(MEASURE, **options)


def test_a_measure_that_is_not_finite():
    with pytest.raises(OptionError, match="not a number"):
        select(torch.tensor([0.1, float("nan")]), drop=Amount(number=1))
