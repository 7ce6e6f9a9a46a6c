"""Tiny models of real architectures, made from their configurations; nothing is downloaded."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
# As many processes test at a time as there are cores, and those that they start count among them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import peft
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

torch.set_num_threads(1)  # whatever the environment says


def make_tokenizer(**special: str) -> transformers.PreTrainedTokenizerFast:
    """One token a byte, and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*special.values(), *alphabet])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special)


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer(pad_token="<pad>", eos_token="<eos>")


SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
         "num_attention_heads": 2, "max_position_embeddings": 96, "vocab_size": 258,
         "pad_token_id": 0, "eos_token_id": 1, "initializer_range": 0.2}  # fmt: skip
KV = {"num_key_value_heads": 1}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 96, "vocab_size": 258,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1,
        "initializer_range": 0.2}  # fmt: skip

ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", SMALL | KV, ["q_proj", "v_proj"]),
    "qwen2": ("Qwen2ForCausalLM", SMALL | KV, ["q_proj", "k_proj", "v_proj", "o_proj"]),
    "qwen3": ("Qwen3ForCausalLM", SMALL | KV | {"head_dim": 8}, ["q_proj", "up_proj"]),
    "gpt2": ("GPT2LMHeadModel", GPT2, ["c_attn", "c_fc"]),
    "bert": ("BertForSequenceClassification", SMALL | {"num_labels": 3}, ["query", "value"]),
    "roberta": (
        "RobertaForSequenceClassification",
        SMALL | {"num_labels": 3, "type_vocab_size": 1},
        ["query", "value"],
    ),
    "llama-classifier": (
        "LlamaForSequenceClassification", SMALL | KV | {"num_labels": 3}, ["q_proj", "v_proj"],
    ),
}  # fmt: skip
HEADS = {"bert": ["classifier"], "roberta": ["classifier"], "llama-classifier": ["score"]}


def make_base(name: str, seed: int = 0, **changes: object) -> transformers.PreTrainedModel:
    """A base model with random weights."""
    torch.manual_seed(seed)
    kind, settings, _ = ARCHITECTURES[name]
    cls = getattr(transformers, kind)
    return cls(cls.config_class(**(settings | changes), attn_implementation="sdpa"))


def make_model(name: str, seed: int = 0, **options: object) -> peft.PeftModel:
    """A base with a LoRA adapter whose two factors are both random, and a trained head."""
    return peft.get_peft_model(make_base(name, seed), lora_config(name, **options))


def lora_config(name: str, **options: object) -> peft.LoraConfig:
    return peft.LoraConfig(
        task_type="SEQ_CLS" if name in HEADS else "CAUSAL_LM", r=4, lora_dropout=0.3,
        init_lora_weights=False, target_modules=ARCHITECTURES[name][2],
        modules_to_save=HEADS.get(name), fan_in_fan_out=name == "gpt2", **options,
    )  # fmt: skip


# No text repeats one token: its attention gradients would be nothing but rounding.
TEXTS = [
    "ab",
    "to be or not",
    "pack my box with five dozen liquor jugs, then wait for rain",
    "the quick brown fox jumps",
    "ok then",
    "sphinx of black quartz",
]


def make_rows(name: str) -> list[dict]:
    """Examples of very different lengths for an architecture's task."""
    if name in HEADS:
        return [
            {"text": text, "label": i % 3} | ({"text_pair": TEXTS[-i]} if i % 2 else {})
            for i, text in enumerate(TEXTS)
        ]
    return [
        {"prompt": text, "completion": TEXTS[-i - 1]} if i % 2 else {"text": text + "!"}
        for i, text in enumerate(TEXTS)
    ]


@pytest.fixture
def llama():
    return make_model("llama")


def save_model(name: str, folder: Path, tokenizer: object, **changes: object) -> tuple[Path, Path]:
    """A base and a LoRA adapter on it, saved as people save them: (base, adapter)."""
    base, adapter = folder / "base", folder / "adapter"
    make_base(name, **changes).save_pretrained(base)
    tokenizer.save_pretrained(base)
    cls = getattr(transformers, ARCHITECTURES[name][0])
    model = peft.get_peft_model(cls.from_pretrained(base), lora_config(name))
    model.save_pretrained(adapter)
    return base, adapter


@pytest.fixture(scope="session")
def saved_llama(tmp_path_factory, tokenizer):
    return save_model("llama", tmp_path_factory.mktemp("llama"), tokenizer)


@pytest.fixture(scope="session")
def saved_bert(tmp_path_factory, tokenizer):
    return save_model("bert", tmp_path_factory.mktemp("bert"), tokenizer)


def write_rows(path: Path, rows: Iterable[dict]) -> Path:
    """A JSON lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def datainf(capsys, monkeypatch):
    """Run the program in this process: datainf("top", …) → (exit code, stdout, stderr)."""
    from datainf.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["datainf", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


HOSTILE = [
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">",
    "</script></style></textarea>--><svg/onload=document.title='owned'>",
    "broken \ufffd half, a null \x00, an escape \x1b[31m and a turn \u202egnal",
    "مرحبا بالعالم, שלום עולם",
    "@SCRIPT@ {{ 7 * 7 }} ${7 * 7} &lt;b&gt; &amp;",
    "emoji 🎈👩‍👩‍👧‍👦 and combining é ñ Z̷͓̒",
]


def attributed(
    folder: Path, adapter: Path, train: Iterable[dict], query: Iterable[dict], **options
):
    """A finished run of a saved adapter, by the library: its folder."""
    from datainf.config import RunConfig
    from datainf.runs import run

    folder.mkdir(parents=True, exist_ok=True)
    files = [write_rows(folder / f"{name}.jsonl", rows)
             for name, rows in (("train", train), ("query", query))]  # fmt: skip
    run(RunConfig(train=str(files[0]), query=str(files[1]), out=str(folder / "run"),
                  adapter=str(adapter), **options))  # fmt: skip
    return folder / "run"


def contents(run: Path) -> dict[Path, bytes]:
    """Of the stores and scores of a run, by their paths in it; not of what a repair put aside."""
    names = ("*.safetensors", "index.json")
    found = {p.relative_to(run): p.read_bytes() for name in names for p in run.rglob(name)}
    return {path: data for path, data in found.items() if "-damaged-" not in str(path)}


@pytest.fixture(scope="session")
def llama_run(saved_llama, tmp_path_factory):
    """Prompts and completions, some of them hostile, with ids."""
    texts = [*TEXTS, *HOSTILE, "long " * 20_000]
    rows = [
        {"id": f"r{i}", "prompt": TEXTS[i % len(TEXTS)], "completion": f" {text}"}
        for i, text in enumerate(texts)
    ]
    return attributed(tmp_path_factory.mktemp("llama-run"), saved_llama[1], rows, rows[3:10])


@pytest.fixture(scope="session")
def bert_run(saved_bert, tmp_path_factory):
    """Texts with labels, of which some are hostile."""
    rows = [{"text": text, "label": i % 3} for i, text in enumerate(TEXTS * 4 + HOSTILE)]
    return attributed(tmp_path_factory.mktemp("bert-run"), saved_bert[1], rows, rows[:5])
