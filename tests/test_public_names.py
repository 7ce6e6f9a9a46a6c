"""The public names: there at first use, the same whatever was imported before, and not earlier."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import datainf
from fresh import HEAVY, loaded_after, python

MODULES = {"errors", "estimators", "tasks"}


@pytest.mark.parametrize(
    "code", ["import datainf", "import datainf; dir(datainf)", "import datainf; datainf.errors"]
)
def test_no_library_is_imported_before_a_name_needs_it(code):
    assert not loaded_after(code) & HEAVY


def test_the_names_bring_torch_and_little_more():
    code = "import datainf\nfor name in datainf.__all__: getattr(datainf, name)"
    assert loaded_after(code) & HEAVY <= {"accelerate", "numpy", "torch"}


@pytest.mark.parametrize(
    "first",
    [
        "import datainf",
        "import datainf.attribution",
        "import datainf.gradients.collect",
        "import datainf.runs, datainf.cli",
        "from datainf import attribute, collect",
        "from datainf import *",
    ],
)
def test_names_are_the_same_in_every_order_of_imports(first):
    python(
        f"""
        {first}
        import datainf
        import datainf.attribution, datainf.gradients.collect, datainf.gradients.curvature
        from types import ModuleType

        modules = {{n for n in datainf.__all__ if isinstance(getattr(datainf, n), ModuleType)}}
        assert modules == {MODULES}, modules
        assert datainf.attribute is datainf.attribution.attribute
        assert datainf.collect is datainf.gradients.collect
        assert datainf.collect_curvature is datainf.gradients.collect_curvature
        """
    )


def test_type_checkers_see_the_names_from_where_they_are_loaded():
    tree = ast.parse(Path(datainf.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == datainf.__all__
    for name, module in seen.items():
        assert getattr(datainf, name) is getattr(import_module(module), name)


def test_no_name_is_that_of_a_module_too():
    """Importing such a module would put it in the name's place."""
    root = Path(datainf.__file__).parent
    files = {path.stem for path in root.iterdir()}
    assert files & set(datainf.__all__) == MODULES
    assert all(isinstance(getattr(datainf, name), ModuleType) for name in MODULES)


def test_dir_lists_the_names():
    assert {*datainf.__all__, "__version__"} <= set(dir(datainf))


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'datainf' has no attribute 'atribute'$"):
        datainf.atribute  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'atribute' from 'datainf'"):
        from datainf import atribute  # noqa: F401
