"""Who may import whom, and which names are public."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import datainf

ROOT = Path(datainf.__file__).parent

ORDER = [
    "redaction", "errors", "words", "remote", "files", "fingerprint", "launch", "provenance",
    "progress", "devices", "meeting", "ranks", "memory", "projection", "linalg", "second_moments",
    "store", "gradient_flow", "scores", "estimators", "tasks", "gradients", "conventions",
    "columns", "repositories", "data", "checkpoints", "models", "pipeline_code", "pipelines",
    "views", "scoring", "top_scoring", "attribution", "explanations", "config", "planning",
    "run_folder", "run_checkpoints", "run_stores", "run_gradients", "run_plan", "runs",
    "applications", "evaluation", "report", "viewer", "integrations", "demos", "cli", "__main__",
]  # fmt: skip
"""A module imports only what stands before it."""

ALLOWED = {
    "estimators": {"errors", "linalg"},
    "linalg": {"errors", "memory", "ranks"},
    "errors": {"redaction"},
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
        assert parts[:2] != ["torch", "distributed"] or own in ("meeting", "ranks")
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


PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
TOLD = {
    "torch.load": ("weights_only", True), "np.load": ("allow_pickle", False),
    "np.save": ("allow_pickle", False),
}  # fmt: skip
"""What must be said where these are called."""
FROM_OTHERS = {"AutoConfig", "AutoTokenizer", "AutoImageProcessor"}


def test_nothing_is_pickled_or_evaluated():
    for path in modules():
        for call in calls(path):
            assert not unsafe(call), f"{path}, line {call.lineno}: {ast.unparse(call)}"
        assert not any(name.split(".")[0] in PICKLES for name in imported(path)), path


def calls(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def unsafe(call):
    name = ast.unparse(call.func)
    said = {word.arg: ast.unparse(word.value) for word in call.keywords}
    needed = TOLD.get(name)
    loads_another_s = name.endswith("from_pretrained") and (
        name.split(".")[-2] in FROM_OTHERS or name.startswith(("getattr(", "loader."))
    )
    return (
        name in {"eval", "exec", "compile", "__import__"} | UNSAFE
        or (needed is not None and said.get(needed[0]) != str(needed[1]))
        or said.get("shell", "False") != "False"
        or said.get("trust_remote_code", "False") != "False"
        or said.get("weights_only", "True") != "True"
        or (loads_another_s and "NO_CODE" not in ast.unparse(call))
    )


@pytest.mark.parametrize(
    "code",
    ["eval(x)", "torch.load(x)", "torch.load(x, weights_only=False)", "yaml.load(x)", "np.load(x)",
     "subprocess.run(x, shell=True)", "f(trust_remote_code=True)",
     "transformers.AutoConfig.from_pretrained(x)",
     "getattr(transformers, x).from_pretrained(x, revision=y)"],
)  # fmt: skip
def test_what_would_be_unsafe(code):
    assert unsafe(ast.parse(code).body[0].value)


def test_every_error_stands_in_the_tree():
    errors = datainf.errors
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert all(kind.__name__ in errors.__doc__ for kind in kinds)
    assert all(issubclass(kind, errors.DatainfError) for kind in kinds)


def test_no_two_test_files_have_one_name():
    """Else pytest imports the first and refuses the second, only when both are collected."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
