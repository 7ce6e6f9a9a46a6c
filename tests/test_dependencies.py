"""What is installed with the package: pinned, allowed by its licence, and as low as it says."""

from __future__ import annotations

import importlib
import itertools
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
distributions = importlib.import_module("distributions")
licences = importlib.import_module("licences")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
POLICY = licences.Policy.load()
EXTRAS = PROJECT["project"]["optional-dependencies"]


def pins(path: Path) -> dict[str, str]:
    """Name → version of a lock, of the lines that hold for this machine and Python."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.partition("--hash")[0].partition("#")[0] for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line.strip()]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in found
        if pin.marker is None or pin.marker.evaluate()
    }


def asked(*extras: str) -> list[Requirement]:
    """pyproject's own requirements, of the core and of these extras."""
    texts = PROJECT["project"]["dependencies"] + [t for e in extras for t in EXTRAS[e]]
    return [r for r in map(Requirement, texts) if r.name != "datainf"]


PINS = pins(ROOT / "constraints.txt")
RELEASED = ("diffusion", "notebook", "captum")
REMOTE = pins(ROOT / "locks" / "remote.txt")
APART = ("quanda", "remote", "gs")  # which need versions of their own
TOGETHER = [extra for extra in EXTRAS if extra not in APART]
GROUP = [Requirement(text) for text in PROJECT["dependency-groups"]["remote"]]


@pytest.mark.parametrize("requirement", asked(*TOGETHER), ids=str)
def test_a_pin_satisfies_the_bound(requirement):
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("requirement", [*asked("remote", "gs"), *GROUP], ids=str)
def test_a_pin_of_object_storage_satisfies_the_bound(requirement):
    assert requirement.specifier.contains(REMOTE[canonicalize_name(requirement.name)])


def test_object_storage_is_tried_with_what_ci_has_but_for_one():
    other = {name for name in PINS.keys() & REMOTE.keys() if PINS[name] != REMOTE[name]}
    assert other == {"python-dateutil"}, "docs/dependencies.md says so"


def locked(extras: Iterable[str]) -> list[str]:
    """What datainf brings here; skips where this environment was not made from the lock."""
    try:
        found = distributions.brought("datainf", extras)
    except distributions.Missing as missing:
        pytest.skip(str(missing))
    for name in (canonicalize_name(r.name) for r in asked(*extras)):
        if Version(found[name].version).public != PINS[name]:
            pytest.skip(f"{name} {found[name].version} is not constraints.txt's")
    return list(found)


@pytest.mark.parametrize("lock", ["constraints.txt", "locks/release.txt"])
def test_all_that_is_installed_is_pinned(lock):
    extras = distributions.EXTRAS if lock == "constraints.txt" else RELEASED
    pinned = pins(ROOT / lock)
    assert [name for name in locked(extras) if name not in pinned] == []


def test_what_builds_it_is_pinned():
    for requirement in map(Requirement, PROJECT["build-system"]["requires"]):
        assert requirement.specifier.contains(PINS[requirement.name])


def test_a_release_is_what_ci_has_with_a_hash_for_each():
    lines = (ROOT / "locks" / "release.txt").read_text(encoding="utf-8").splitlines()
    assert pins(ROOT / "locks" / "release.txt").items() <= PINS.items()
    for line, following in itertools.pairwise(lines):
        assert "==" not in line or following.startswith("    --hash=sha256:"), line


@pytest.mark.parametrize("requirement", asked("test", "captum", "experiments"), ids=str)
def test_the_lowest_that_is_tested_is_the_bound(requirement):
    """That nothing raises a bound in silence, as a requirement of another's would."""
    (bound,) = (s.version for s in requirement.specifier if s.operator == ">=")
    tested = pins(ROOT / "locks" / "lowest.txt")[canonicalize_name(requirement.name)]
    assert Version(tested).release[: len(Version(bound).release)] == Version(bound).release


LICENSED = {
    "MIT": [],
    "BSD-3-Clause AND (MIT OR Apache-2.0 WITH LLVM-exception)": [],
    "GPL-3.0-only": ["GPL-3.0-only"],
    "MIT OR GPL-3.0-only": ["GPL-3.0-only"],
    "unknown": ["unknown"],
}


@pytest.mark.parametrize("expression", LICENSED)
def test_a_licence_must_be_on_the_list(expression):
    wrong = licences.faults({"it": expression}, POLICY)
    bad = LICENSED[expression]
    assert wrong == [f"it: {expression}; {b} is not in scripts/licences.toml" for b in bad]


def test_exceptions_are_by_name():
    proprietary = {"nvidia-cublas": "LicenseRef-NVIDIA-Proprietary"}
    assert licences.faults(proprietary, POLICY) == []
    assert licences.faults({"not-nvidia-cublas": proprietary["nvidia-cublas"]}, POLICY)


def test_where_a_licence_is_stated():
    trove = ["License :: OSI Approved :: MIT License", "Topic :: Software Development"]
    assert licences.stated({"License-Expression": "0BSD", "License": "MIT"}, trove) == "0BSD"
    assert licences.stated({"License": "Apache"}, trove) == "Apache"
    assert licences.stated({"License": "Copyright 2001\nAll rights"}, trove) == "MIT License"
    assert licences.stated({"License": ""}, []) is None


def test_the_page_names_every_distribution():
    page = licences.PAGE.read_text(encoding="utf-8")
    listed = [name for name in locked(distributions.EXTRAS) if POLICY.exception(name) is None]
    assert [name for name in listed if f"\n| {name} |" not in page] == []
