"""A base model with its adapter, from folders or the hub, checked that the two fit together.

transformers and peft warn and go on where weights are missing; a head that was made up at random
would then be attributed as if it had been trained. Here that is an error.

peft is imported where it is used: that takes seconds, and many commands load no adapter.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from torch import nn

from datainf import tasks
from datainf.checkpoints import FOLDER
from datainf.columns import Candidates, TaskName
from datainf.devices import own, usable
from datainf.errors import ModelError, OptionError, first_line
from datainf.files import suggestion
from datainf.redaction import beginning
from datainf.repositories import NO_CODE, at, refuse_kernels, unloadable
from datainf.tasks import Task
from datainf.tasks.kinds import KINDS, by_architecture, by_peft_task

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
TASK_OPTIONS = {
    "max_length": "max_length",
    "max_target_length": "max_target_length",
    "beta": "beta",
    "preference_loss": "loss",
    "resolution": "resolution",
    "timesteps": "timesteps",
    "timestep_gradients": "aggregate",
    "timestep_weighting": "weighting",
    "noise_seed": "seed",
}
"""A setting of a run → the field of the task's class that it sets."""
HEAD = re.compile(
    r"\.(classifier|score|classification_head|cls_classifier)(\.\d+|\.out_proj)?\.weight$"
)
"""The weight of a classifier's last layer, [classes, width], in an adapter's file."""
CONFIG, PEFT_CONFIG = "config.json", "adapter_config.json"
"""By which transformers' models and peft's adapters are known."""
PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""One of them holds an adapter's tensors."""
LAYERS, MOST_LAYERS = re.compile("layer|depth|block", re.IGNORECASE), 100_000
"""Names in a base's configuration of how often modules are made, and more than any model has."""
PIPELINE_INDEX = "model_index.json"
PIPELINE_LORA = "pytorch_lora_weights.safetensors"
"""By these files diffusers' pipelines, and adapters for them, are known."""


@dataclass(frozen=True)
class Loaded:
    """A model ready for attribution, with what it reads its inputs through: a tokenizer, or for
    images an image processor."""

    model: nn.Module
    tokenizer: Any
    base: str


def device_of(name: str | None) -> torch.device:
    """A device by name; None takes a GPU if there is one.

    Raises `OptionError` for a device that is not there.
    """
    if name is None or name == "auto":
        return own(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return usable(name)


def dtype_of(name: str | None, device: torch.device) -> torch.dtype | str:
    """A dtype by name; None is float32 on a CPU and the checkpoint's own elsewhere."""
    if name is None or name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in DTYPES:
        raise OptionError(f"unknown dtype {name!r}", remedy=f"one of {', '.join(DTYPES)}")
    return DTYPES[name]


def candidates(base: str | None, adapter: str | None) -> Candidates | None:
    """The tasks that the adapter, or else the base, can be for; None if neither says.

    Raises `ModelError` for an adapter of a task type that nothing here does, or if either cannot
    be read.
    """
    if adapter is not None and (Path(adapter) / PIPELINE_LORA).is_file():
        return Candidates(("text-to-image",), f"the adapter's {PIPELINE_LORA}")
    if adapter is not None and (found := _of_adapter(adapter)) is not None:
        return found
    base = base or base_of(adapter)
    if (Path(base) / PIPELINE_INDEX).is_file():
        return Candidates(("text-to-image",), f"the base's {PIPELINE_INDEX}")
    config = base_config(base)
    names = config.architectures or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(
            f"the config.json of {base} names no architecture: {beginning(names, 100)!r}",
            remedy="--task, and a config.json as model.save_pretrained writes it",
        )
    for class_name in names:
        both = bool(getattr(config, "is_encoder_decoder", False))
        if tasks_of := by_architecture(class_name, encoder_decoder=both):
            return Candidates(tasks_of, f"the base's architecture {class_name}")
    return None


def _of_adapter(adapter: str) -> Candidates | None:
    config = adapter_config(adapter)
    if config.task_type is not None:
        name = str(getattr(config.task_type, "value", config.task_type))
        if not (found := by_peft_task(name)):
            known = sorted({task_type for kind in KINDS.values() for task_type in kind.peft})
            raise ModelError(
                f"the adapter {adapter} is for {name}, which is not supported yet",
                remedy=f"an adapter for {' or '.join(known)}, or --task",
            )
        return Candidates(found, f"the adapter's task type {name}")
    # Without a task type, peft notes the class of the model that was adapted.
    adapted = config.auto_mapping if isinstance(config.auto_mapping, dict) else {}
    class_name = str(adapted.get("base_model_class", ""))
    if str(adapted.get("parent_library", "")).startswith("diffusers."):
        return Candidates(("text-to-image",), f"the adapter was made on a {class_name}")
    for both in (False, True):
        if found := by_architecture(class_name, encoder_decoder=both):
            return Candidates(found, f"the adapter was made on a {class_name}")
    return None


def load_model(
    base: str | None,
    adapter: str | None,
    task: TaskName,
    *,
    device: str | None = None,
    dtype: str | None = None,
) -> Loaded:
    """Load a base and its adapter.

    Args:
        base: Folder or hub id; None takes the one that the adapter names.
        adapter: Folder or hub id of a peft adapter; None for a fully fine-tuned model.
        task: What the model is asked for.
        device, dtype: By name; see `device_of`, `dtype_of`.

    Raises:
        ModelError: either cannot be loaded, or the adapter does not fit the base.
    """
    target = device_of(device)
    base = base or base_of(adapter)
    weights = None if adapter is None else adapter_weights(adapter)
    model, absent = _load_base(base, task, dtype_of(dtype, target), _num_labels(weights))
    _require_head(absent, weights, base)
    reader = load_reader(task, base, adapter)
    if KINDS[task].reads == "tokenizer" and model.config.pad_token_id is None:
        model.config.pad_token_id = reader.pad_token_id
    if adapter is not None and weights is not None:
        model = _attach(model, adapter, weights, base)
    return Loaded(model.to(target).eval(), reader, base)


def make_task(
    name: TaskName, reader: Any, options: Mapping[str, Any] = MappingProxyType({})
) -> Task:
    """The task of a name.

    Args:
        name: As in `datainf.tasks.kinds`.
        reader: What it reads its inputs through: a tokenizer, an image processor, a pipeline.
        options: Settings that a person gave, by their names in `TASK_OPTIONS`; None is not given.

    Raises `OptionError` for a setting that the task does not know, or a value it cannot take.
    """
    made: type[Any] = getattr(tasks, KINDS[name].task)
    known = {field.name for field in fields(made)}
    settings = {}
    for option, value in options.items():
        if value is None:
            continue
        if TASK_OPTIONS[option] not in known:
            flag = f"--{option.replace('_', '-')}"
            raise OptionError(f"{name} has no {option.replace('_', ' ')}", remedy=f"no {flag}")
        settings[TASK_OPTIONS[option]] = value
    if settings.get("max_length", 2) < 2:
        raise OptionError(
            f"the maximal length must be at least 2 tokens, got {settings['max_length']}"
        )
    task: Task = made(reader, **settings)
    return task


def name_classes(model: nn.Module, names: Sequence[str]) -> None:
    """Give a classifier's outputs names, in their order.

    Raises `OptionError` for another number of names than of outputs, or one name twice.
    """
    config: Any = model.config
    if len(names) != config.num_labels or len(set(names)) != len(names):
        raise OptionError(
            f"{len(names)} classes were named ({', '.join(names[:10])}), and the model has "
            f"{config.num_labels}",
            remedy="a name for each, in the order of the model's outputs: --labels NAME,NAME,…",
        )
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}


def adapter_config(adapter: str) -> Any:
    """The peft configuration of an adapter.

    Raises `ModelError` if there is none.
    """
    import peft

    _require_adapter_here(Path(adapter))
    try:
        name, revision = at(adapter)
        config = peft.PeftConfig.from_pretrained(name, revision=revision)
    except Exception as error:
        raise ModelError(
            f"{adapter} is not a peft adapter: {first_line(error)}",
            remedy=f"the folder that model.save_pretrained(…) wrote, with {PEFT_CONFIG} in it",
        ) from None
    if getattr(config, "megatron_config", None):
        raise ModelError(
            f"the adapter {adapter} asks for a module of Megatron's to be imported, by its "
            "megatron_config",
            remedy=f"none in its {PEFT_CONFIG}",
        )
    for field in ("base_model_name_or_path", "revision"):
        if not isinstance(value := getattr(config, field, None), str | None):
            raise ModelError(
                f"the adapter {adapter} names no base: {field} is {beginning(value)} in its "
                f"{PEFT_CONFIG}",
                remedy="a folder or a hub id in its place",
            )
    return config


def _require_adapter_here(path: Path) -> None:
    """Raises `ModelError` for a path that is no adapter's, and can be no hub's id: peft would ask
    the hub for it all the same, which without a network takes half a minute."""
    if (path / PEFT_CONFIG).is_file():
        return
    if path.is_dir():
        raise ModelError(
            f"{path} is not a peft adapter: there is no {PEFT_CONFIG} in it"
            f"{suggestion(path / 'adapter', _is_adapter)}",
            remedy="the folder that model.save_pretrained(…) wrote",
        )
    is_id = not path.is_absolute() and len(path.parts) == 2  # an owner, and a name
    if path.is_file() or path.parent.is_dir() or not is_id:
        what = f"{path} is a file" if path.is_file() else f"there is no folder {path}"
        raise ModelError(
            f"{what}{suggestion(path, _is_adapter)}",
            remedy="the folder that model.save_pretrained(…) wrote, or a hub id, owner/name",
        )


def _is_adapter(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (PEFT_CONFIG, PIPELINE_LORA))


def base_of(adapter: str | None) -> str:
    """The base that an adapter names.

    Raises `ModelError` if it names none.
    """
    config = None if adapter is None else adapter_config(adapter)
    name = None if config is None else config.base_model_name_or_path
    if not name:
        raise ModelError("no base model was named", remedy="--model BASE")
    revision = getattr(config, "revision", None)
    return f"{name}@{revision}" if revision and not Path(str(name)).exists() else str(name)


def base_config(base: str) -> Any:
    """The transformers configuration of a base model.

    Raises `ModelError` if there is none.
    """
    name, revision = at(base)
    try:
        told, _ = transformers.PreTrainedConfig.get_config_dict(name, revision=revision)
        config = transformers.AutoConfig.from_pretrained(name, revision=revision, **NO_CODE)
    except Exception as error:
        remedy = "--model with a folder or hub id of a transformers model"
        raise unloadable("a model", base, error, remedy) from None
    _require_no_adapter(base)
    refuse_kernels(base, told)  # as the file has it: a configuration keeps some of its own
    _require_buildable(base, told)
    return config


def _require_no_adapter(base: str) -> None:
    """Raises `ModelError` for a base with an adapter's file beside it: transformers would put that
    adapter into the base unasked, beneath the one that is looked at, or take the base it names."""
    from transformers.utils.peft_utils import find_adapter_config_file

    name, revision = at(base)
    if find_adapter_config_file(name, revision=revision) is not None:
        raise ModelError(
            f"{base} cannot be the base: there is an {PEFT_CONFIG} in it, by which transformers "
            "would load that adapter into the model",
            remedy="--adapter for the adapter's folder, and --model for one with the base alone",
        )


def _require_buildable(base: str, told: Mapping[str, Any]) -> None:
    """Raises `ModelError` for more layers than any model has, which would be made one by one, for
    years, before it is seen that there are no weights for them."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            _require_buildable(base, value)
        counts = value if isinstance(value, list) else [value]
        if LAYERS.search(name) and any(isinstance(n, int) and n > MOST_LAYERS for n in counts):
            raise ModelError(
                f"{base} cannot be loaded: its config.json has {beginning(value)} for {name}",
                remedy="--model with a folder or hub id of a transformers model",
            )


def adapter_weights(adapter: str) -> dict[str, torch.Tensor]:
    """An adapter's tensors by their names in its file, on the CPU.

    Raises `ModelError` if they are not there, or cannot be read.
    """
    import peft

    adapter_config(adapter)
    folder = Path(adapter)
    if folder.is_dir() and not any((folder / name).is_file() for name in PEFT_WEIGHTS):
        raise ModelError(  # peft would ask the hub for them
            f"there are no weights in {adapter}: it has an {PEFT_CONFIG}, and neither "
            f"{' nor '.join(PEFT_WEIGHTS)}",
            remedy="the whole folder that model.save_pretrained(…) wrote",
        )
    try:
        name, revision = at(adapter)
        return dict(peft.utils.load_peft_weights(name, device="cpu", revision=revision))
    except Exception as error:
        raise ModelError(
            f"cannot read the weights of {adapter}: {first_line(error)}",
            remedy="the whole folder that model.save_pretrained(…) wrote, or a hub id, owner/name",
        ) from None


def load_reader(task: TaskName, base: str, adapter: str | None) -> Any:
    """What a task reads its inputs through: `load_tokenizer`, or the image processor.

    Raises `ModelError` if it cannot be loaded.
    """
    if KINDS[task].reads == "tokenizer":
        return load_tokenizer(base, adapter)
    source = _saved_with(adapter, "preprocessor_config.json") or base
    name, revision = at(source)
    try:
        return transformers.AutoImageProcessor.from_pretrained(name, revision=revision, **NO_CODE)
    except ImportError as error:
        raise ModelError(
            f"cannot load the image processor of {source}: {first_line(error)}",
            remedy="pip install 'datainf[diffusion]', which brings pillow",
        ) from None
    except Exception as error:
        remedy = (
            "processor.save_pretrained(folder) beside the model, or --model with a folder that "
            "has a preprocessor_config.json"
        )
        raise unloadable("an image processor", source, error, remedy) from None


def _saved_with(adapter: str | None, name: str) -> str | None:
    """The adapter's folder if it has such a file; of a checkpoint, else its training's folder."""
    if adapter is None:
        return None
    folders = [Path(adapter)]
    if FOLDER.fullmatch(folders[0].name):
        folders.append(folders[0].parent)
    return next((str(folder) for folder in folders if (folder / name).is_file()), None)


def load_tokenizer(base: str, adapter: str | None) -> Any:
    """The adapter's own tokenizer if it was saved with one, else the base's."""
    source = _saved_with(adapter, "tokenizer_config.json") or base
    name, revision = at(source)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision, **NO_CODE)
    except Exception as error:
        remedy = "tokenizer.save_pretrained(folder) beside the model"
        raise unloadable("a tokenizer", source, error, remedy) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _num_labels(weights: dict[str, torch.Tensor] | None) -> int | None:
    """The classes of the head that an adapter was saved with."""
    for name, tensor in (weights or {}).items():
        if HEAD.search(name):
            return len(tensor)
    return None


def _load_base(
    base: str, task: TaskName, dtype: torch.dtype | str, num_labels: int | None
) -> tuple[Any, list[str]]:
    """The base model and the names of the weights that its files do not hold."""
    base_config(base)
    kind = KINDS[task]
    if kind.model is None:
        raise ModelError(
            f"models for {task} are no models of transformers",
            remedy=f"datainf.tasks.{kind.task} from Python",
        )
    # The adapter brings the head: the base's own may have another number of classes.
    options = (
        {"num_labels": num_labels, "ignore_mismatched_sizes": True}
        if num_labels is not None and kind.head
        else {}
    )
    name, revision = at(base)
    try:
        model, info = getattr(transformers, kind.model).from_pretrained(
            name, revision=revision, dtype=dtype, output_loading_info=True, **options, **NO_CODE
        )
    except Exception as error:
        raise ModelError(
            f"cannot load {base} for {task}: {first_line(error)}",
            remedy="check the folder or hub id, and --task",
        ) from None
    mismatched = [name if isinstance(name, str) else name[0] for name in info["mismatched_keys"]]
    return model, sorted({*info["missing_keys"], *mismatched})


def _require_head(absent: list[str], weights: dict[str, torch.Tensor] | None, base: str) -> None:
    """Every weight that the base lacks must come with the adapter."""
    nowhere = [
        name for name in absent if not any(saved.endswith(f".{name}") for saved in (weights or {}))
    ]
    if nowhere:
        modules = sorted({name.split(".")[-3 if ".dense." in name else -2] for name in nowhere})
        raise ModelError(
            f"{base} has no weights for {', '.join(nowhere[:4])}"
            f"{', …' if nowhere[4:] else ''}, and neither has the adapter: they would be random",
            remedy="check --task; or train the adapter again with these modules among its "
            f"modules_to_save ({', '.join(modules)}), so that they are saved with it",
        )


def _attach(model: Any, adapter: str, weights: dict[str, torch.Tensor], base: str) -> nn.Module:
    import peft

    named = adapter_config(adapter).base_model_name_or_path
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            name, revision = at(adapter)
            wrapped = peft.PeftModel.from_pretrained(model, name, revision=revision)
    except Exception as error:
        raise ModelError(
            f"the adapter {adapter} does not fit the base {base}: {first_line(error, 2)}",
            remedy=f"the base that it was trained on, {named}, and the --task it was trained for",
        ) from None
    absent = [str(w.message) for w in caught if "missing adapter keys" in str(w.message)]
    unused = sorted(set(weights) - set(peft.get_peft_model_state_dict(wrapped)))
    if absent or unused:
        what = absent[0] if absent else f"its tensors {', '.join(unused[:3])} have no place there"
        raise ModelError(
            f"the adapter {adapter} does not fit the base {base}: {beginning(what, 300)}",
            remedy=f"the base that it was trained on, {named}, and the --task it was trained for",
        )
    fitted: nn.Module = wrapped
    return fitted
