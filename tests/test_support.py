"""Every cell of docs/support.md does what it says, measured against one-at-a-time autograd."""

from __future__ import annotations

import re
from pathlib import Path

import peft
import pytest
import torch
from packaging.version import Version
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from support import ADAPTERS, BASES, EXACT, NO_PREFIX, UNSURE, allowed, takes_prefix, try_out

PAGE = (Path(__file__).parents[1] / "docs" / "support.md").read_text(encoding="utf-8")


def cells():
    """(adapter, base) → fast, fallback or not possible, and the number of the reason."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    header, *body = rows
    assert header[1:] == [f"{base.title}, {base.task}" for base in BASES.values()]
    return {
        (adapter, base): re.fullmatch(r"(fast|fallback|not possible)(?: \[(\d+)\])?", cell).groups()
        for adapter, *found in body
        for base, cell in zip(BASES, found, strict=True)
    }


CELLS = cells()
OLDER = Version(peft.__version__) < Version("0.21")
"""The table is of this one; an older one lacks some adapters, and others fall back."""


def test_the_table_has_a_reason_wherever_it_is_not_fast():
    assert CELLS.keys() == {(adapter, base) for adapter in ADAPTERS for base in BASES}
    reasons = set(re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE))
    assert {number for _, number in CELLS.values() if number} == reasons
    assert all((status == "fast") == (number is None) for status, number in CELLS.values())


def test_no_adapter_of_peft_is_missing():
    """A new one of peft's makes this fail: it wants a row in the table."""
    if OLDER:
        pytest.skip("it does lack some")
    known = Path(__file__).with_name("support.py").read_text(encoding="utf-8")
    kinds = {config.__name__ for config in PEFT_TYPE_TO_CONFIG_MAPPING.values()}
    assert not {kind for kind in kinds if not re.search(rf'"{kind}"|peft\.{kind}\(', known)}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("base", BASES)
def test_cell(adapter, base):
    outcome = try_out(adapter, BASES[base])
    expected = {CELLS[adapter, base][0]}
    skip_what_does_not_fit(outcome)
    if OLDER:
        expected |= {"fast", "fallback"}
    if adapter in UNSURE and "fast" in expected:
        expected.add("fallback")
    assert outcome.status in expected, outcome.why
    assert outcome.error <= allowed(adapter, base)


def skip_what_does_not_fit(outcome):
    if OLDER and "has no attribute" in outcome.why:
        pytest.skip(outcome.why)
    if not takes_prefix() and "does not support past key values" in outcome.why:
        pytest.skip(NO_PREFIX)


IN_FLOAT32 = {"AdaMSS", "DEFT"}
"""Adapters that compute in float32 whatever the model's dtype."""


@pytest.mark.parametrize("adapter", [a for a in ADAPTERS if a not in IN_FLOAT32])
def test_what_float32_rounds_float64_does_not(adapter):
    outcome = try_out(adapter, BASES["llama"], torch.float64, sizes=[3])
    skip_what_does_not_fit(outcome)
    assert (outcome.status == "not possible") == (CELLS[adapter, "llama"][0] == "not possible")
    assert outcome.error <= EXACT


TEXT = [name for name, base in BASES.items() if base.task != "text-to-image" and name != "moe"]
"""Pipelines have tests of their own; torch multiplies no experts in float64."""


@pytest.mark.parametrize("base", TEXT)
def test_every_base_in_float64(base):
    outcome = try_out("LoRA", BASES[base], torch.float64, sizes=[3])
    assert outcome.status == "fast" or OLDER, outcome.why
    if base == "t5" and OLDER:
        pytest.skip("its relative positions are in float32 whatever the dtype")
    assert outcome.error <= EXACT
