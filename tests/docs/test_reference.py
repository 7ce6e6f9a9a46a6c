"""Every command and every public name is documented, as the code has it."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from packaging.version import Version

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
reference = importlib.import_module("make_reference")


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_pages_are_as_the_code_is(name):
    if name == "commands.md" and Version(typer.__version__) < Version("0.29"):
        pytest.skip("an older typer words some defaults in other ways")
    there = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert there == reference.PAGES[name](), "python scripts/make_reference.py"


def members(kind):
    """The names of a class's public methods and properties that datainf defines, of what is
    inherited too."""
    fields = getattr(kind, "__dataclass_fields__", {})  # a function may be the default of one
    for name in sorted(set(dir(kind)) - fields.keys()):
        static = inspect.getattr_static(kind, name)
        home = next((one for one in kind.__mro__ if name in vars(one)), kind)
        read = isinstance(static, property | cached_property | classmethod | staticmethod)
        of_ours = home.__module__.startswith("datainf.")
        if not name.startswith("_") and of_ours and (read or inspect.isroutine(static)):
            yield name


def test_members_are_also_those_that_are_no_plain_methods():
    from datainf import TopScores
    from datainf.viewer import Server

    assert set(members(TopScores)) > {"load", "to_pandas", "shape", "query_row", "of_query"}
    assert "url" in members(Server)
    assert "serve_forever" not in members(Server)  # of the standard library


@pytest.mark.parametrize("module", reference.MODULES)
def test_every_public_name_has_a_docstring(module):
    if module == "datainf.integrations.quanda":
        pytest.importorskip("quanda", reason="an optional extra")
    imported = importlib.import_module(module)
    bare = []
    for name in reference.public_names(module):
        value = getattr(imported, name)
        if not callable(value):  # says nothing of itself when it runs
            continue
        bare += [] if inspect.getdoc(value) else [name]
        for own in members(value) if inspect.isclass(value) else ():
            bare += [] if documented(value, own) else [f"{name}.{own}"]
    assert not bare


def documented(kind, name):
    """Whether a base says what a member of a class is, as `help` would find it."""
    return any(inspect.getdoc(vars(one)[name]) for one in kind.__mro__ if name in vars(one))


def test_every_public_constant_has_a_docstring():
    griffe = pytest.importorskip("griffe", reason="pip install '.[docs]'")
    read = griffe.load("datainf", search_paths=[ROOT / "src"])
    bare, seen = [], 0
    for module in reference.MODULES:
        for name in reference.public_names(module):
            own = read[f"{module}.{name}".removeprefix("datainf.")]
            seen += own.is_attribute
            bare += [f"{module}.{name}"] if own.is_attribute and not own.docstring else []
    assert not bare
    assert seen >= 3


def test_the_site_builds(tmp_path):
    pytest.importorskip("material", reason="pip install '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    page = pages[tmp_path / "site" / "reference" / "python" / "index.html"]
    there = re.findall(r'id="([^"]+)"', page)
    assert sorted(expected_anchors() - set(there)) == []
    for path, page in pages.items():
        assert "```" not in page, f"{path} has a block that is not read as one"


def expected_anchors():
    """Of every public name, and of its members where its module can be imported here."""
    anchors = set()
    for module in reference.MODULES:
        names = reference.public_names(module)
        anchors |= {f"{module}.{name}" for name in names}
        if module == "datainf.integrations.quanda" and find_spec("quanda") is None:
            continue
        for name in names:
            value = getattr(importlib.import_module(module), name)
            some = members(value) if inspect.isclass(value) else ()
            anchors |= {f"{module}.{name}.{own}" for own in some}
    return anchors


def test_a_link_that_leads_nowhere_is_an_error(tmp_path):
    """In the strict build that the site has."""
    pytest.importorskip("material", reason="pip install '.[docs]'")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(
        "site_name: a\nplugins: []\n" + re.search(r"^validation:\n(  .*\n)+", text, re.M)[0]
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[gone](../benchmarks/RESULTS.md)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "benchmarks/RESULTS.md" in done.stderr
