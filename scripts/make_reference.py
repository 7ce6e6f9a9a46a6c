"""docs/reference: every command with its options, and every public name, from the code itself.

    python scripts/make_reference.py

A test says when the pages are behind.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import typer.main

import datainf
from datainf.cli import app

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MODULES = {
    "datainf": "What is imported from the package itself.",
    "datainf.scores": "What scores are made of, beside those above.",
    "datainf.tasks": "A batch → one loss an example.",
    "datainf.estimators": "One method each; `datainf.attribute` takes them by name or made.",
    "datainf.applications": "What people do with stores and scores.",
    "datainf.report": "A run as a page.",
    "datainf.viewer": "The same page, served.",
    "datainf.evaluation": "How good scores are.",
    "datainf.data": "Data sets in.",
    "datainf.projection": "Smaller rows of gradients.",
    "datainf.integrations.live": "What both interfaces to other libraries stand on.",
    "datainf.integrations.captum": "In Captum's interface.",
    "datainf.integrations.quanda": "In quanda's interface.",
    "datainf.errors": "The error tree.",
}
"""Of the public names, where they are imported from, and what they have in common."""


def commands_page() -> str:
    group: Any = typer.main.get_command(app)
    parts = ["# Commands\n", "`datainf COMMAND --help` says the same.\n"]
    for name, command in group.commands.items():
        arguments = " ".join(
            parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]"
            for parameter in command.params if parameter.param_type_name == "argument"
        )  # fmt: skip
        parts += [
            f"## datainf {name}\n",
            f"```text\ndatainf {name} {arguments}".rstrip() + " [OPTIONS]\n```\n",
        ]
        parts += [f"{command.help}\n", "| option | |\n|---|---|"]
        parts += [_row(parameter) for parameter in command.params if not parameter.hidden]
        parts.append("")
    return "\n".join(parts)


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    default = parameter.default
    if default not in (None, False, True, ()) and "default" not in text:
        text += f" (default: {getattr(default, 'value', default)})"
    return f"| {names} | {text} |"


def python_page() -> str:
    parts = ["# Python\n"]
    for module, what in MODULES.items():
        parts += [f"## {module}\n", f"{what}\n"]
        parts += [f"::: {module}.{name}\n" for name in public_names(module)]
    return "\n".join(parts)


def public_names(module: str) -> list[str]:
    """Those of a module that are its own: no modules, none that the package itself has, and of
    optional ones those in the source."""
    if module.startswith("datainf.integrations."):  # which need other libraries
        path = Path(datainf.__file__).parent / "integrations" / f"{module.rpartition('.')[2]}.py"
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [re.split(r"\W", line.split()[1])[0] for line in lines if line.startswith("class ")]
        return [name for name in found if not name.startswith("_")]
    imported = __import__(module, fromlist=["_"])
    names = getattr(imported, "__all__", None)
    if names is None:
        names = [n for n, v in vars(imported).items() if getattr(v, "__module__", None) == module]
    above = set() if imported is datainf else {id(getattr(datainf, n)) for n in datainf.__all__}
    own = {name: getattr(imported, name) for name in names}
    return sorted(n for n, v in own.items() if not inspect.ismodule(v) and id(v) not in above)


PAGES = {"commands.md": commands_page, "python.md": python_page}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, made in PAGES.items():
        (FOLDER / name).write_text(made(), encoding="utf-8")
