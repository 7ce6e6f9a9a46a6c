"""None of the code that a pipeline's folder brings, or names, is run.

diffusers runs Python files that lie in a pipeline's folder, up to 0.37 whatever `trust_remote_code`
says; and up to 0.41 it imports whatever module model_index.json names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datainf.errors import ModelError
from datainf.models import CONFIG, PEFT_CONFIG
from datainf.redaction import beginning
from datainf.repositories import refuse_kernels

LIBRARIES = ("diffusers", "transformers")
NOT_LOADED = ("safety_checker",)
"""Parts of which a folder may say what it likes: `datainf.pipelines` has diffusers leave them."""
NO_NAME = "None.py"
"""As a file by which diffusers is to be told of a pipeline, of which it is told None."""


def parts_of(index: Path, base: str) -> dict[str, str]:
    """The parts that a model_index.json names, and the library that each is of.

    Raises `ModelError` for a class that is not diffusers' or transformers' own, or loads by itself
    what some other file names: `Auto…` and whole pipelines.
    """
    import diffusers

    told: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
    pipeline = _class_of(diffusers, told["_class_name"])
    # Some fetch another pipeline, which their README names.
    if not issubclass(pipeline, diffusers.DiffusionPipeline) or pipeline._load_connected_pipes:
        raise _refused(base, f"the class {told['_class_name']!r}")
    found = {}
    for part, value in told.items():
        if not isinstance(value, list) or part.startswith("_") or part in NOT_LOADED:
            continue
        library, name = value
        if library is None:
            continue
        known = library in LIBRARIES and isinstance(name, str)
        if known and library == "diffusers":
            known = not issubclass(_class_of(diffusers, name), diffusers.DiffusionPipeline)
        elif known:
            known = not name.startswith("Auto")
        if not known:
            raise _refused(base, f"{library}.{name} as its {part}")
        found[part] = library
    return found


def refuse_code(folder: Path, parts: dict[str, str], base: str) -> None:
    """Raises `ModelError` for a folder whose files diffusers would run, or whose parts ask for
    compiled code from the hub or are adapters, whose bases are elsewhere."""
    from transformers import PreTrainedConfig

    own = {part: folder / part if (folder / part).is_dir() else folder for part in parts}
    for file in (folder / NO_NAME, *(own[part] / f"{parts[part]}.py" for part in parts)):
        if file.is_file():
            raise _refused(base, f"its own {file.relative_to(folder)}")
    for part, place in own.items():
        if (place / PEFT_CONFIG).is_file():
            raise _refused(base, f"an adapter as its {part}")
        # transformers would ask on the terminal, for what a processor is made of.
        if any("auto_map" in _told(file) for file in place.glob("*config.json")):
            raise _refused(base, f"code of its own, by auto_map, for its {part}")
        if (place / CONFIG).is_file():
            refuse_kernels(base, PreTrainedConfig.get_config_dict(str(place))[0])


def _told(file: Path) -> dict[str, Any]:
    """What a file says; nothing where it cannot be read, which who loads it will say."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        return {}
    return told if isinstance(told, dict) else {}


def _class_of(diffusers: Any, name: object) -> Any:
    found = getattr(diffusers, name, object) if isinstance(name, str) else object
    return found if isinstance(found, type) else object


def _refused(base: str, what: str) -> ModelError:
    return ModelError(
        f"the pipeline {base} asks for {beginning(what, 200)}, and datainf runs no code "
        "but diffusers' and transformers' own",
        remedy=f"a pipeline whose model_index.json names classes of {' and '.join(LIBRARIES)}",
    )
