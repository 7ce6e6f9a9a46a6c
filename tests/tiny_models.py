"""Tiny models of further architectures, their adapters, and rows for their tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import peft
import torch
import transformers

from conftest import KV, SMALL, TEXTS
from datainf import tasks

BART = {"vocab_size": 258, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24, "max_position_embeddings": 96, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1,
        "forced_eos_token_id": 1, "init_std": 0.2}  # fmt: skip
T5 = {"vocab_size": 258, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2,
      "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
      "initializer_factor": 0.5}  # fmt: skip
VIT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
       "num_attention_heads": 2, "image_size": 16, "patch_size": 4, "num_labels": 3,
       "initializer_range": 0.2}  # fmt: skip
MULTI = {"problem_type": "multi_label_classification"}


@dataclass(frozen=True)
class Tiny:
    """A model class, its configuration, what LoRA adapts, and what an adapter is told."""

    model: str
    settings: dict[str, Any]
    targets: list[str]
    task: str
    peft_task: str | None
    head: list[str] | None = None
    rows: list[dict] = field(default_factory=list)


def _labelled(labels: list) -> list[dict]:
    return [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]


TAGGED = [
    {"tokens": text.split(), "tags": [(i + j) % 3 for j in range(len(text.split()))]}
    for i, text in enumerate(TEXTS)
]
PAIRED = [{"source": text, "target": TEXTS[-i - 1]} for i, text in enumerate(TEXTS)]
NUMBERS = [0.5, -1.25, 3, 0.0, 7.5, -0.1]
SEVERAL = [[0], [0, 2], [1], [1, 2], [2], []]


def pictures() -> list[dict]:
    """Images [3, 16, 16] as tensors, with a label each."""
    generator = torch.Generator().manual_seed(1)
    return [
        {"pixel_values": torch.randn(3, 16, 16, generator=generator), "label": i % 3}
        for i in range(6)
    ]


ENCODER = ["query", "value"]
TINY = {
    "bert-tags": Tiny("BertForTokenClassification", SMALL | {"num_labels": 3}, ENCODER,
                      "token-classification", "TOKEN_CLS", ["classifier"], TAGGED),
    "roberta-tags": Tiny("RobertaForTokenClassification",
                         SMALL | {"num_labels": 3, "type_vocab_size": 1}, ENCODER,
                         "token-classification", "TOKEN_CLS", ["classifier"], TAGGED),
    "t5": Tiny("T5ForConditionalGeneration", T5, ["q", "v"], "seq2seq", "SEQ_2_SEQ_LM",
               None, PAIRED),
    "bart": Tiny("BartForConditionalGeneration", BART, ["q_proj", "v_proj"], "seq2seq",
                 "SEQ_2_SEQ_LM", None, PAIRED),
    "vit": Tiny("ViTForImageClassification", VIT, [*ENCODER, "q_proj", "v_proj"],
                "image-classification",
                None, ["classifier"], pictures()),
    "bert-regression": Tiny("BertForSequenceClassification", SMALL | {"num_labels": 1}, ENCODER,
                            "classification", "SEQ_CLS", ["classifier"], _labelled(NUMBERS)),
    "bert-two-numbers": Tiny("BertForSequenceClassification",
                             SMALL | {"num_labels": 2, "problem_type": "regression"}, ENCODER,
                             "classification", "SEQ_CLS", ["classifier"],
                             _labelled([[n, 1 - n] for n in NUMBERS])),
    "bert-several": Tiny("BertForSequenceClassification", SMALL | {"num_labels": 3} | MULTI,
                         ENCODER, "classification", "SEQ_CLS", ["classifier"],
                         _labelled(SEVERAL)),
    "llama-regression": Tiny("LlamaForSequenceClassification", SMALL | KV | {"num_labels": 1},
                             ["q_proj", "v_proj"], "classification", "SEQ_CLS", ["score"],
                             _labelled(NUMBERS)),
}  # fmt: skip

CLASSES = {
    "token-classification": tasks.TokenClassification,
    "seq2seq": tasks.Seq2Seq,
    "image-classification": tasks.ImageClassification,
    "classification": tasks.SequenceClassification,
}


def tiny_base(name: str, seed: int = 0) -> transformers.PreTrainedModel:
    """A base model with random weights."""
    torch.manual_seed(seed)
    tiny = TINY[name]
    cls = getattr(transformers, tiny.model)
    return cls(cls.config_class(**tiny.settings))


def tiny_lora(name: str, base: transformers.PreTrainedModel | None = None) -> peft.PeftModel:
    """A base with a LoRA adapter whose two factors are both random, and a trained head."""
    tiny = TINY[name]
    config = peft.LoraConfig(
        task_type=tiny.peft_task, r=4, lora_dropout=0.3, init_lora_weights=False,
        target_modules=tiny.targets, modules_to_save=tiny.head and list(tiny.head),
    )  # fmt: skip
    return peft.get_peft_model(base or tiny_base(name), config)


def image_processor() -> Any:
    """ViT's, for images of 16 by 16, as pillow does it."""
    size = {"height": 16, "width": 16}
    # transformers 5.0 has pillow's under the plain name.
    made = getattr(transformers, "ViTImageProcessorPil", None) or transformers.ViTImageProcessor
    return made(size=size)


def tiny_task(name: str, model: Any, tokenizer: Any) -> tasks.Task:
    """The task of a tiny model, fitted to it."""
    kind = TINY[name].task
    reader = image_processor() if kind == "image-classification" else tokenizer
    return CLASSES[kind](reader).for_model(model)
