"""The loss that the released code takes gradients of: of the prompt, padding and all.

The answer never enters. Prompts are padded on the right to the longest of their split, at most
`length` tokens, by the end-of-sequence token; attention does not see the padding, but the labels
are the input ids, so that every padding token counts: how long the prompt is shows in the loss,
and with it the class, where templates differ in length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from datainf.tasks import Custom
from experiments.text.data import Row


def padded(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, length: int) -> list[Row]:
    """id, input_ids, attention_mask of every row, all of one width."""
    ids = [tokenizer(row["prompt"])["input_ids"][:length] for row in rows]
    width = max(map(len, ids))
    return [
        {
            "id": row["id"],
            "input_ids": tokens + [tokenizer.eos_token_id] * (width - len(tokens)),
            "attention_mask": [1] * len(tokens) + [0] * (width - len(tokens)),
        }
        for row, tokens in zip(rows, ids, strict=True)
    ]


def losses(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """[batch]: mean over all positions but the first, padding counted, nats."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    nll = cross_entropy(
        logits[:, :-1].float().transpose(1, 2), batch["input_ids"][:, 1:], reduction="none"
    )
    return nll.mean(dim=1)


def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Rows of one width as a batch."""
    return {
        key: torch.tensor([row[key] for row in rows]) for key in ("input_ids", "attention_mask")
    }


def released_task() -> Custom:
    return Custom(losses, collate, length=_length, describe=_describe)


def _length(row: Row) -> int:
    return len(row["input_ids"])


def _describe(row: Row) -> str:
    return str(row["id"])
