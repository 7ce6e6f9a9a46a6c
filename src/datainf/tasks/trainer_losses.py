"""The losses of trainers that are known well enough to be taken apart by example.

Each is the same mathematics as the trainer's own for a batch of one, from the same logits. A loss
counts as known only where all code that makes it is the library's: a trainer or a model with a
method of its own, a loss function that was handed in and an option that adds a term are not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datainf.errors import CoverageError
from datainf.tasks.base import IGNORE
from datainf.tasks.inputs import base_model
from datainf.tasks.preference import REFERENCE_LOGPS, completion_logps
from datainf.tasks.preference_loss import LossName, PreferenceLoss
from datainf.tasks.reference import as_reference
from datainf.tasks.token_losses import at_least_float32, next_token_nll, token_nll

Inputs = Mapping[str, Any]

PLAIN_DPO = {
    "loss_weights": [1.0],
    "ld_alpha": None,
    "f_divergence_type": "reverse_kl",
    "use_weighting": False,
}
"""The options of a DPO trainer under which its loss is the paper's."""


class KnownLoss(Protocol):
    """`losses(model, inputs)` → [B]; the inputs hold `parts` rows an example."""

    @property
    def parts(self) -> int: ...

    def losses(self, model: nn.Module, inputs: Inputs) -> Tensor: ...


@dataclass(frozen=True)
class NextTokens:
    """The mean over a row's supervised tokens, each predicted from those before.

    The trainer counts them from the position `first`, which is 0 where it does not know that the
    model's loss leaves out the first token; and takes them for at least `fewest`, which is 1 where
    a row without any loses nothing and 0 where it loses NaN.
    """

    first: int
    fewest: int
    parts: int = 1

    def losses(self, model: nn.Module, inputs: Inputs) -> Tensor:
        sums, _ = next_token_nll(_logits(model, inputs), inputs["labels"])
        return sums / self.tokens(inputs["labels"]).to(sums.device).clamp(min=self.fewest)

    def tokens(self, labels: Tensor) -> Tensor:
        """[B]: how many tokens count."""
        return (labels[:, self.first :] != IGNORE).sum(dim=1)


@dataclass(frozen=True)
class AlignedTokens:
    """The mean over a row's supervised tokens, each with logits at its own position: sequence to
    sequence, and labels of tokens. The labels go in, since decoders start from them."""

    parts: int = 1

    def losses(self, model: nn.Module, inputs: Inputs) -> Tensor:
        sums, counts = token_nll(model(**inputs).logits, inputs["labels"])
        return sums / counts


@dataclass(frozen=True)
class Classes:
    """One label out of several, by cross-entropy."""

    parts: int = 1

    def losses(self, model: nn.Module, inputs: Inputs) -> Tensor:
        logits = _logits(model, inputs)
        labels = inputs["labels"].to(logits.device)
        if labels.is_floating_point():
            raise CoverageError("labels that are not class indices have no loss that is known here")
        return F.cross_entropy(at_least_float32(logits), labels.reshape(-1), reduction="none")


@dataclass(frozen=True)
class Numbers:
    """Regression: the mean square error over a row's numbers."""

    parts: int = 1

    def losses(self, model: nn.Module, inputs: Inputs) -> Tensor:
        logits = _logits(model, inputs)
        labels = inputs["labels"].to(logits.device).reshape(len(logits), -1)
        errors: Tensor = logits.reshape(len(logits), -1) - labels
        return errors.square().mean(dim=1)


@dataclass(frozen=True)
class Preferred:
    """DPO. `reference` is another model, or None: then the batch tells, or the model itself."""

    loss: PreferenceLoss
    precomputed: bool
    reference: Any
    parts: int = 2

    def losses(self, model: nn.Module, inputs: Inputs) -> Tensor:
        tokens = inputs["completion_mask"]
        labels = inputs["input_ids"].masked_fill(tokens == 0, IGNORE)
        rest = {key: value for key, value in inputs.items() if key not in REFERENCE_LOGPS}
        given = {key: value for key, value in rest.items() if key != "completion_mask"}
        given["use_cache"] = False
        if self.precomputed:
            reference = torch.cat([inputs[key] for key in REFERENCE_LOGPS])
        else:
            own = as_reference(model) if self.reference is None else nullcontext()
            with torch.no_grad(), own:
                reference = completion_logps(self.reference or model, given, labels)
        return self.loss(completion_logps(model, given, labels), reference, tokens.sum(dim=1))


@dataclass(frozen=True)
class Rewarded:
    """A reward model: −log σ(r_w − r_l − margin) + c (r_w + r_l)²."""

    centre: float
    parts: int = 2

    def losses(self, model: nn.Module, inputs: Inputs) -> Tensor:
        rewards: Tensor = model(**inputs, use_cache=False).logits.squeeze(-1)
        chosen, rejected = rewards.chunk(2)
        gaps: Tensor = chosen - rejected - inputs.get("margin", 0.0)
        return -F.logsigmoid(gaps) + self.centre * (chosen + rejected).square()


def known_loss(trainer: Any, model: nn.Module) -> KnownLoss | None:
    """The trainer's loss, if it is one of these; `model` is the trainer's, unwrapped."""
    inner = base_model(model)
    if not type(inner).__module__.startswith("transformers."):
        return None  # a forward of its own
    if trainer.compute_loss_func is not None or trainer.label_smoother is not None:
        return None
    if getattr(inner.config, "output_router_logits", False):
        return None  # a mixture of experts adds a loss of its router's
    if stock(trainer, "transformers.trainer", "Trainer", "compute_loss"):
        return None if _is_patched(inner) else _model_loss(inner, first=_first_counted(trainer))
    if getattr(trainer, "aux_loss_enabled", False):
        return None
    if stock(trainer, "trl.trainer.sft_trainer", "SFTTrainer", "compute_loss"):
        plain = getattr(trainer.args, "loss_type", "nll") == "nll"
        return NextTokens(first=1, fewest=1) if plain else None
    if stock(trainer, "trl.trainer.reward_trainer", "RewardTrainer", "compute_loss"):
        return Rewarded(trainer.args.center_rewards_coefficient or 0.0)
    methods = ("compute_loss", "_compute_loss")
    if stock(trainer, "trl.trainer.dpo_trainer", "DPOTrainer", *methods):
        return _preferred(trainer)
    return None


def stock(trainer: Any, module: str, kind: str, *methods: str) -> bool:
    """Whether these methods of the trainer are those of a library's class.

    The library is not imported for it: a trainer of its kind has done so already.
    """
    library = getattr(sys.modules.get(module), kind, None)
    return library is not None and all(
        hasattr(library, method)
        and getattr(type(trainer), method, None) is getattr(library, method)
        and method not in vars(trainer)
        for method in methods
    )


def _is_patched(inner: Any) -> bool:
    """Whether someone put another forward into the model; accelerate does, and says so."""
    attributes = vars(inner).keys()
    return "forward" in attributes and not attributes & {"_original_forward", "_hf_hook"}


def _first_counted(trainer: Any) -> int:
    """Where the trainer starts to count a row's tokens, whose number it hands to the model."""
    handed = trainer.model_accepts_loss_kwargs and hasattr(trainer, "_get_num_items_in_batch")
    return 0 if handed and not getattr(trainer, "_loss_shifts_labels", False) else 1


def shifts_labels(trainer: Any) -> bool:
    """Whether a row's first label counts for nothing in the mean that the trainer logs."""
    if hasattr(trainer, "_loss_shifts_labels"):
        return bool(trainer._loss_shifts_labels)
    if trainer.label_smoother is None:  # older trainers shift here alone, by the model's name
        return False
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = type(base_model(trainer.model)).__name__
    return name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def _model_loss(inner: Any, first: int) -> KnownLoss | None:
    from transformers.loss import loss_utils

    loss, config = getattr(inner, "loss_function", None), inner.config
    if loss is loss_utils.ForCausalLMLoss:
        if config.is_encoder_decoder:
            return AlignedTokens()
        return NextTokens(first, fewest=0) if _is_causal_lm(inner) else None
    if loss is loss_utils.ForTokenClassification:
        return AlignedTokens()
    if loss is loss_utils.ForSequenceClassificationLoss:
        if config.problem_type == "regression" or config.num_labels == 1:
            return Numbers()
        if config.problem_type in (None, "single_label_classification"):
            return Classes()
    return None


def _is_causal_lm(inner: Any) -> bool:
    # GPT-2 and its like are named otherwise, and get the same loss for want of another.
    named = type(inner).__name__.endswith("LMHeadModel")
    return getattr(inner, "loss_type", None) == "ForCausalLM" or named


def _preferred(trainer: Any) -> Preferred | None:
    names = getattr(trainer, "loss_types", [])
    options_known = all(
        hasattr(trainer, option) and getattr(trainer, option) == value
        for option, value in PLAIN_DPO.items()
    )
    if len(names) != 1 or names[0] not in get_args(LossName) or not options_known:
        return None
    loss = PreferenceLoss(names[0], trainer.beta)
    return Preferred(loss, trainer.precompute_ref_logps, trainer.ref_model)


def _logits(model: nn.Module, inputs: Inputs) -> Tensor:
    rest = {key: value for key, value in inputs.items() if key != "labels"}
    logits: Tensor = model(**rest).logits
    return logits
