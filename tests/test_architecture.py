"""Who may import whom, and which names are public."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import datainf

ROOT = Path(datainf.__file__).parent

ORDER = [
    "errors", "words", "remote", "files", "fingerprint", "provenance", "progress", "launch",
    "devices", "ranks", "memory", "projection", "linalg", "second_moments", "store",
    "gradient_flow", "scores", "estimators", "tasks", "gradients", "conventions", "columns",
    "repositories", "data", "checkpoints", "models", "pipelines", "views", "scoring", "top_scoring",
    "attribution", "explanations", "config", "planning", "run_checkpoints", "run_stores",
    "run_gradients", "run_plan", "runs", "applications", "evaluation", "report", "viewer",
    "integrations", "demos", "cli", "__main__",
]  # fmt: skip
"""A module imports only what stands before it."""

ALLOWED = {
    "estimators": {"errors", "linalg"},
    "linalg": {"errors", "memory", "ranks"},
    "errors": set(),
}
FORBIDDEN = {"gradients": {"estimators", "scores", "attribution"}, "scores": {"store"}}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def top(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = top(path)
    assert own in ORDER
    for name in imported(path):
        parts = name.split(".")
        assert parts[:2] != ["torch", "distributed"] or own == "ranks"
        if parts[0] != "datainf" or parts[1:] in ([], ["__version__"]):
            continue
        assert parts[1] in ORDER, f"{own} imports {name}, whose home is another module"
        if parts[1] == own:
            continue
        assert ORDER.index(parts[1]) < ORDER.index(own), f"{own} imports {parts[1]}"
        assert parts[1] in ALLOWED.get(own, ORDER)
        assert parts[1] not in FORBIDDEN.get(own, set())


def test_the_readme_s_tree_has_this_order():
    tree = (ROOT.parents[1] / "README.md").read_text(encoding="utf-8").split("## The tree")[1]
    shown = re.findall(r"^[├└]── ([a-z_]+)(?:\.py|/)", tree, re.MULTILINE)
    assert shown == [name for name in ORDER if name != "__main__"]


def test_public_names():
    assert datainf.__all__ == [
        "Damping", "GradientStore", "Scores", "TopScores", "attribute", "attribute_top", "collect",
        "collect_curvature", "errors", "estimators", "load_scores", "self_influence", "sweep",
        "tasks",
    ]  # fmt: skip
    assert (ROOT / "py.typed").exists()


def test_nothing_is_pickled_or_evaluated():
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, path
        assert not any(name.split(".")[0] in {"pickle", "dill"} for name in imported(path)), path


def test_every_error_stands_in_the_tree():
    errors = datainf.errors
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert all(kind.__name__ in errors.__doc__ for kind in kinds)
    assert all(issubclass(kind, errors.DatainfError) for kind in kinds)
