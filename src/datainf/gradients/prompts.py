"""Prompt-learning adapters of peft, so that each example of a batch has its own prompts.

In training, peft runs the prompt encoder on one row and repeats what comes out, which leaves one
gradient for the whole batch; loaded for inference, it reads the weights without running any
module. The same prompts, a row an example, give each example its own gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


def is_prompted(module: nn.Module) -> bool:
    """Whether a module is a peft model whose active adapter learns prompts or prefixes."""
    if "peft" not in sys.modules:  # its import takes seconds; where nobody did, no model has any
        return False
    from peft import PeftModel

    return isinstance(module, PeftModel) and module.active_peft_config.is_prompt_learning


@contextmanager
def prompt_for_each(model: Any) -> Iterator[None]:
    """A prompt row for each example, for the time being."""
    config = model.active_peft_config
    encoder = model.prompt_encoder[model.active_adapter]
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    with ExitStack() as stack:
        if kind in {"PREFIX_TUNING", "CARTRIDGE"}:
            # peft runs it on a row an example in training mode. Projected prefixes were saved as
            # what came out of the projection.
            if config.inference_mode and getattr(encoder, "prefix_projection", False):
                stack.enter_context(replaced(encoder, "prefix_projection", False))
            stack.enter_context(replaced(config, "inference_mode", False))
        elif kind != "MULTITASK_PROMPT_TUNING":  # which does so anyway
            run = encoder.embedding if config.inference_mode else encoder

            def get_prompt(batch_size: int, *_: Any, **__: Any) -> Tensor:
                tokens = model.prompt_tokens[model.active_adapter].unsqueeze(0)
                device = encoder.embedding.weight.device
                prompts: Tensor = run(tokens.expand(batch_size, -1).to(device))
                return prompts

            stack.enter_context(replaced(model, "get_prompt", get_prompt))
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of an object replaced, and put back as it was: its own, or its class's."""
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
