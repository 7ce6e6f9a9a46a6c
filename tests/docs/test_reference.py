"""Every command and every public name is documented, as the code has it."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
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


def test_every_public_name_has_a_docstring():
    for module in reference.MODULES:
        if module == "datainf.integrations.quanda":
            pytest.importorskip("quanda", reason="an optional extra")
        imported = importlib.import_module(module)
        for name in reference.public_names(module):
            value = getattr(imported, name)
            assert inspect.getdoc(value), f"{module}.{name}"
            for own, member in vars(value).items() if inspect.isclass(value) else ():
                if own.startswith("_") or not callable(member):
                    continue
                assert inspect.getdoc(getattr(value, own)), f"{module}.{name}.{own}"


def test_the_site_builds(tmp_path):
    pytest.importorskip("material", reason="pip install '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert "attribute" in pages[tmp_path / "site" / "reference" / "python" / "index.html"]
    for path, page in pages.items():
        assert "```" not in page, f"{path} has a block that is not read as one"
