"""What a model says to an example, in words: the label it gives, or how it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from datainf.tasks.labels import Labels

MOST_NEW_TOKENS = 64
"""A continuation is no longer."""
BATCH = 32
"""No more prompts go together."""
BEYOND = 16
"""Nor longer than the example's own by more tokens than this."""


@dataclass(frozen=True)
class Answer:
    """text: the label that a model gives, or the text by which it goes on; given: the example's
    own, in the same words; probability: of the label given by the model, in [0, 1]; agrees: whether
    the two are one, None where that is no question of right or wrong; written: whether it is a text
    that the model wrote, which takes long, and no label; limit: the tokens after which such a text
    was cut, None where it came to its end."""

    text: str
    given: str | None = None
    probability: float | None = None
    agrees: bool | None = None
    written: bool = False
    limit: int | None = None


def label_answers(labels: Labels, logits: Sequence[Tensor], targets: Sequence[Any]) -> list[Answer]:
    """Of a classifier's outputs, [C] each, and the targets that `Labels.read` gave."""
    return [_label_answer(labels, row, target) for row, target in zip(logits, targets, strict=True)]


def _label_answer(labels: Labels, logits: Tensor, target: Any) -> Answer:
    if not logits.isfinite().all():
        return Answer("nothing that is finite")
    if not isinstance(target, list):
        probabilities = logits.softmax(dim=0)
        best = int(probabilities.argmax())
        return Answer(
            labels.name(best), labels.name(target), float(probabilities[best]), best == target
        )
    if labels.problem == "regression":
        said, own = (", ".join(f"{value:.3g}" for value in values) for values in (logits, target))
        return Answer(said, own)
    on, wanted = (
        [place for place, value in enumerate(values) if value > least]
        for values, least in ((logits, 0.0), (target, 0.5))
    )
    return Answer(in_words(labels, on), in_words(labels, wanted), agrees=on == wanted)


def preference(margin: float) -> Answer:
    """Of a pair, from by how much its chosen completion is preferred to the rejected one. A model
    that prefers neither is not wrong: it is its own reference still."""
    if not math.isfinite(margin):
        return Answer("gives nothing that is finite")
    if margin == 0:
        return Answer("prefers neither")
    return Answer(
        f"prefers the {'chosen' if margin > 0 else 'rejected'} by {abs(margin):.3g}",
        agrees=margin > 0,
    )


def in_words(labels: Labels, classes: Sequence[int]) -> str:
    """The names of several classes at once."""
    return ", ".join(map(labels.name, classes)) or "none"


def continuations(
    model: nn.Module, tokenizer: Any, prompts: Sequence[Sequence[int]],
    own: Sequence[Sequence[int]], rooms: Sequence[int], *, echoed: bool,
) -> list[Answer] | None:  # fmt: skip
    """What a model writes after each prompt, token by token the likeliest, up to so many new tokens
    as there is room for, beside the example's `own`; None for a model that cannot write. `echoed`:
    whether what it gives begins with the prompt, as of a decoder alone, or with the one token that
    starts a decoder. Prompts of one length go together, so that there is no padding.
    """
    generate = getattr(model, "generate", None)
    if not callable(generate):
        return None
    device = next(model.parameters()).device
    said: dict[int, Answer] = {}
    for places in _of_one_length(prompts):
        ids = torch.tensor([list(prompts[place]) for place in places], device=device)
        with torch.no_grad():
            out = generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1,
                max_new_tokens=max(rooms[place] for place in places),
                use_cache=True,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        for place, row in zip(places, out, strict=True):
            new = row[ids.shape[1] if echoed else 1 :][: rooms[place]].tolist()
            text, given = (
                str(tokenizer.decode(t, skip_special_tokens=True)) for t in (new, own[place])
            )
            limit = None if _has_ended(model, new, rooms[place]) else rooms[place]
            said[place] = Answer(text, given, written=True, limit=limit)
    return [said[place] for place in range(len(prompts))]


def _has_ended(model: Any, new: Sequence[int], room: int) -> bool:
    """Whether a model came to an end by itself; one forced on it at the last token is none."""
    if len(new) < room:
        return True
    settings = getattr(model, "generation_config", None)
    ends = getattr(settings, "eos_token_id", None)
    if getattr(settings, "forced_eos_token_id", None) is not None:
        new = new[:-1]
    return not set(new).isdisjoint(ends if isinstance(ends, list) else [ends])


def _of_one_length(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of prompts in batches of one length each."""
    groups: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(len(prompt), []).append(place)
    return [
        places[at : at + BATCH] for places in groups.values() for at in range(0, len(places), BATCH)
    ]


def room_for(own: int, left: int) -> int:
    """How many new tokens a continuation has, beside an example's own and what the model has
    left."""
    return max(1, min(MOST_NEW_TOKENS, own + BEYOND, left))


def one_by_one(
    model: nn.Module, encoded: Sequence[Any], collate: Callable[[Sequence[Any]], Any],
    outputs: Callable[[nn.Module, Any], Tensor],
) -> list[Tensor]:  # fmt: skip
    """A model's outputs for one example after another, on the CPU: no padding, whatever it would
    change."""
    device, found = next(model.parameters()).device, []
    with torch.no_grad():
        for example in encoded:
            batch = send_to_device(collate([example]), device)
            found.append(outputs(model, batch)[0].float().cpu())
    return found
