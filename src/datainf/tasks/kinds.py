"""The tasks by name: which class does each, and by which signs a model is known to be made for it.

A task's columns stand in `datainf.conventions`, under the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """One task.

    `task` is its class in `datainf.tasks`, made from what the model `reads` its inputs through.
    `model` is the class of transformers that loads its models, None where transformers does not.
    A `head` has an output a class, and comes with the adapter. `peft` are task types of adapters,
    `architectures` endings of model classes, that say the model is for this task; where endings
    are shared, `encoder_decoder` tells which models are meant.
    """

    task: str
    model: str | None
    reads: Literal["tokenizer", "image processor"] = "tokenizer"
    head: bool = False
    peft: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    encoder_decoder: bool | None = None  # None: either


KINDS: dict[str, Kind] = {
    "causal-lm": Kind(
        "CausalLM",
        "AutoModelForCausalLM",
        peft=("CAUSAL_LM",),
        architectures=("ForCausalLM", "LMHeadModel"),
        encoder_decoder=False,
    ),
    "preference": Kind(
        "Preference",
        "AutoModelForCausalLM",
        peft=("CAUSAL_LM",),
        architectures=("ForCausalLM", "LMHeadModel"),
        encoder_decoder=False,
    ),
    "seq2seq": Kind(
        "Seq2Seq",
        "AutoModelForSeq2SeqLM",
        peft=("SEQ_2_SEQ_LM",),
        architectures=("ForConditionalGeneration", "LMHeadModel", "EncoderDecoderModel"),
        encoder_decoder=True,
    ),
    "classification": Kind(
        "SequenceClassification",
        "AutoModelForSequenceClassification",
        head=True,
        peft=("SEQ_CLS",),
        architectures=("ForSequenceClassification",),
    ),
    "token-classification": Kind(
        "TokenClassification",
        "AutoModelForTokenClassification",
        head=True,
        peft=("TOKEN_CLS",),
        architectures=("ForTokenClassification",),
    ),
    "image-classification": Kind(
        "ImageClassification",
        "AutoModelForImageClassification",
        reads="image processor",
        head=True,
        architectures=("ForImageClassification",),
    ),
    "text-to-image": Kind("TextToImage", None),
}


def by_peft_task(task_type: str) -> tuple[str, ...]:
    """The tasks that an adapter's task type allows, () for one that none knows."""
    return tuple(name for name, kind in KINDS.items() if task_type in kind.peft)


def by_architecture(class_name: str, *, encoder_decoder: bool) -> tuple[str, ...]:
    """The tasks that a model class, such as BertForSequenceClassification, is for."""
    return tuple(
        name
        for name, kind in KINDS.items()
        if class_name.endswith(kind.architectures)
        and kind.encoder_decoder in (None, encoder_decoder)
    )
