"""Which parameters are attributed, and which modules hold them."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from datainf.errors import ModelError, OptionError
from datainf.gradients.rules import Rule, rule_of
from datainf.store import Block

NOT_COMPUTED = {
    "architectures", "bos_token_id", "chunk_size_feed_forward", "dtype", "eos_token_id",
    "finetuning_task", "id2label", "label2id", "pad_token_id", "problem_type", "torch_dtype",
    "transformers_version", "use_cache",
}  # fmt: skip
"""Entries of a configuration that change no loss, or that the task's fingerprint has already;
some are written only when a model is saved."""


NOT_OPTIONS = {"inference_mode", "init_lora_weights", "init_weights", "total_step"}
"""Options of adapters that say how they were begun or trained, or are used."""

BEFORE_TUNING = ".original_module."
"""In the names of peft's copies of what modules_to_save replaced; they take no part in a loss that
does not ask the model without its adapter."""


@dataclass(frozen=True)
class Site:
    """A module whose forward uses selected parameters: parameter name below it → block name."""

    name: str
    module: nn.Module
    blocks: dict[str, str]

    @cached_property
    def rule(self) -> Rule | None:
        """The module's rule for these parameters, if it has one."""
        return rule_of(self.module, self.blocks)


def select(model: nn.Module, trainable: str | None = None) -> dict[str, nn.Parameter]:
    """The parameters to attribute, by name.

    `trainable` is one shell pattern or several with commas between; a pattern that starts with
    "!" leaves out. Without it: the parameters that require gradients; if none does, as in an
    adapter loaded for inference, those of the active adapter.

    Raises `OptionError` for a pattern that matches nothing, `ModelError` if nothing is left.
    """
    chosen = _chosen(model, trainable)
    offloaded = next((name for name, parameter in chosen.items() if parameter.is_meta), None)
    if offloaded is not None:
        raise ModelError(
            f"{offloaded} is not in memory: accelerate keeps it on disk or on the CPU and loads it "
            "for each forward pass, so that no gradient reaches it",
            remedy="a device_map that keeps the layers with the adapter on a device; layers "
            "without may stay offloaded",
        )
    return chosen


def _chosen(model: nn.Module, trainable: str | None) -> dict[str, nn.Parameter]:
    named = dict(model.named_parameters())
    if trainable is not None:
        return _matching(named, trainable)
    chosen = {name: p for name, p in named.items() if p.requires_grad}
    if not chosen:
        chosen = {name: p for name, p in named.items() if _is_active_adapter(model, name)}
    if not chosen:
        raise ModelError(
            "the model has no trainable parameter and no adapter",
            remedy="a model with a peft adapter, or --trainable PATTERN (say '*.classifier.*')",
        )
    return chosen


def sites(
    model: nn.Module, chosen: dict[str, nn.Parameter], above: frozenset[str] = frozenset()
) -> list[Site]:
    """Every module that uses a chosen parameter; a tied parameter has several.

    A container such as ParameterDict runs nothing: its parameters belong to the module around it.
    So do, by demand, those of the modules named in `above`.
    """
    names = {id(parameter): name for name, parameter in chosen.items()}
    # A container that several modules share stands at several places, each with its own user.
    modules = dict(model.named_modules(remove_duplicate=False))
    climbed = {id(modules[name]) for name in above}
    users: dict[tuple[int, str], dict[str, str]] = {}
    for holder, module in modules.items():
        user = holder
        while user and (id(modules[user]) in climbed or not _has_forward(modules[user])):
            user = user.rpartition(".")[0]
        for local, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(parameter) in names:
                users.setdefault((id(module), local), {}).setdefault(user, holder)
    found: dict[int, Site] = {}
    for (_, local), places in users.items():
        for user, holder in _lowest(places).items():
            module = modules[user]
            site = found.setdefault(id(module), Site(user, module, {}))
            path = f"{holder}.{local}".removeprefix(f"{user}." if user else "")
            site.blocks[path] = names[id(module.get_parameter(path))]
    return list(found.values())


def _lowest(places: dict[str, str]) -> dict[str, str]:
    """Of the modules that use one container, those that hold no other user of it."""
    return {
        user: holder
        for user, holder in places.items()
        if not any(
            other != user and other.startswith(f"{user}." if user else "") for other in places
        )
    }


def _has_forward(module: nn.Module) -> bool:
    return getattr(type(module).forward, "__name__", "") != "_forward_unimplemented"


def blocks_of(model: nn.Module, chosen: dict[str, nn.Parameter], copies: int = 1) -> list[Block]:
    """The block table: name, shape and owning adapter module of every chosen parameter;
    with several copies of a gradient side by side, [copies, *shape]."""
    kinds_of_owner = _adapter_layers()
    owners = {name for name, module in model.named_modules() if isinstance(module, kinds_of_owner)}
    return [
        Block(name, _copied(parameter, copies), _owner(name, owners))
        for name, parameter in chosen.items()
    ]


def _copied(parameter: nn.Parameter, copies: int) -> tuple[int, ...]:
    shape = tuple(parameter.shape)
    return shape if copies == 1 else (copies, *shape)


def weights(model: nn.Module, replaced: bool) -> Iterator[tuple[str, Tensor]]:
    """A model's parameters and persistent buffers by name, those that accelerate keeps on disk
    or on the CPU read in, one after another; with what modules_to_save `replaced`, or without,
    since of a base that has no head it is drawn anew each time that this is loaded."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor) or (BEFORE_TUNING in name and not replaced):
            continue
        if not value.is_meta:
            yield name, value
            continue
        holder, _, local = name.rpartition(".")
        hook: Any = getattr(modules[holder], "_hf_hook", None)
        hooks = getattr(hook, "hooks", [hook])  # one, or several in a row
        known = next((h.weights_map for h in hooks if getattr(h, "weights_map", None)), None)
        if known is None:
            raise ModelError(
                f"{name} has no values: it is on the meta device",
                remedy="load the model's weights, or dispatch it with accelerate",
            )
        yield name, known[local]


def architecture(model: nn.Module) -> Any:
    """What a model computes with its weights, as far as it says: its configuration where that is
    not the default, which grows with each version of transformers (the same weights compute
    something else under another activation, another rotary base, another norm's epsilon); of any
    other model its modules as they print."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "to_diff_dict"):
        return repr(model)
    plain = json.loads(json.dumps(config.to_diff_dict(), default=str))
    return {k: v for k, v in plain.items() if k not in NOT_COMPUTED and not k.startswith("_")}


def adapter_settings(model: nn.Module) -> dict[str, Any]:
    """What the adapters in use compute with their weights, and no tensor says: what each module's
    output is multiplied by (LoRA's alpha/r), and the plain values among the adapter's options
    (seeds of fixed projections, the steps of a series, the indices of trained tokens)."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        scaling: Any = getattr(module, "scaling", None)
        if isinstance(module, _adapter_layers()) and isinstance(scaling, dict):
            found[name] = {key: scaling[key] for key in _active(module) if key in scaling}
    configs: Any = getattr(model, "peft_config", None)
    for key in _active(model) if isinstance(configs, dict) else ():
        options = vars(configs[key]).items() if key in configs else ()
        found[f"options of {key}"] = {
            option: value
            for option, value in options
            if option not in NOT_OPTIONS and _is_plain(value)
        }
    return found


def _active(model: nn.Module) -> list[str]:
    """The names of the adapters in use."""
    active: Any = getattr(model, "active_adapters", [])
    active = active() if callable(active) else active
    return [active] if isinstance(active, str) else list(active)


def _is_plain(value: Any) -> bool:
    """Numbers and lists of them: names and paths change when an adapter is saved and loaded."""
    if isinstance(value, list | tuple):
        return all(isinstance(item, int | float) for item in value)
    return isinstance(value, int | float)


def _adapter_layers() -> tuple[type[nn.Module], ...]:
    """peft's wrappers around a layer. Importing peft takes seconds: where nobody has, no model
    holds any."""
    if "peft" not in sys.modules:
        return ()
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return BaseTunerLayer, AuxiliaryTrainingWrapper


def _owner(parameter: str, owners: set[str]) -> str:
    """The outermost adapter module around a parameter, or the module that holds it."""
    parts = parameter.split(".")
    for stop in range(1, len(parts)):
        if (prefix := ".".join(parts[:stop])) in owners:
            return prefix
    return ".".join(parts[:-1])


def _matching(named: dict[str, nn.Parameter], trainable: str) -> dict[str, nn.Parameter]:
    patterns = [pattern.strip() for pattern in trainable.split(",") if pattern.strip()]
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")] or ["*"]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    hits: dict[str, int] = defaultdict(int)
    chosen = {}
    for name, parameter in named.items():
        matched = [pattern for pattern in wanted if fnmatchcase(name, pattern)]
        for pattern in matched:
            hits[pattern] += 1
        left_out = BEFORE_TUNING in name or any(fnmatchcase(name, p) for p in unwanted)
        if matched and not left_out:
            chosen[name] = parameter
    for pattern in wanted:
        if not hits[pattern]:
            raise OptionError(
                f"no parameter matches {pattern!r}; they are named like {_examples(named)}",
                remedy="a shell pattern over whole names, such as '*lora_*' or '*.classifier.*'",
            )
    if not chosen:
        raise OptionError(f"{trainable!r} leaves no parameter")
    integer = [name for name, p in chosen.items() if not p.is_floating_point()]
    if integer:
        raise OptionError(
            f"{integer[0]} is stored as {chosen[integer[0]].dtype} and has no gradient",
            remedy="a pattern that leaves out quantised weights",
        )
    return chosen


def _examples(named: dict[str, nn.Parameter]) -> str:
    """Two names that are unlike, numbers aside."""
    kinds_of_names = {re.sub(r"\d+", "0", name): name for name in named}
    return " or ".join(list(kinds_of_names.values())[-2:])


def _is_active_adapter(model: nn.Module, parameter: str) -> bool:
    if not hasattr(model, "peft_config"):
        return False
    # peft keys every adapter's tensors by its name: lora_A.default.weight,
    # classifier.modules_to_save.default.bias
    return any(
        f".{name}." in parameter or parameter.endswith(f".{name}") for name in _active(model)
    )
