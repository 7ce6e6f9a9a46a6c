"""What is supported: every adapter on every base and task, each cell measured by doing it.

`docs/support.md` is written from this by `scripts/support_table.py`; `tests/test_support.py` does
each of its cells again.
"""

from __future__ import annotations

import inspect
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import peft
import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers.models.vit import modeling_vit

import tiny_pipelines
from conftest import HEADS, KV, SMALL, TEXTS, make_base, make_tokenizer
from datainf import tasks
from datainf.errors import DatainfError, ModelError, VerificationError
from datainf.gradients.engine import FallbackWarning, PerExample
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.gradients.verify import each_alone
from tiny_models import TINY, tiny_base, tiny_task

CPU = torch.device("cpu")
NO_PREFIX = "takes no prefix: peft 0.21 does not know the classifiers of transformers 5.24"


def takes_prefix() -> bool:
    """Whether peft finds where classifiers take keys and values, as it does by a name of theirs
    that transformers has changed."""
    from transformers.models.bert.modeling_bert import BertModel

    known = inspect.signature(BertModel.forward).parameters
    return "past_key_values" in known or Version(peft.__version__) >= Version("0.22")


SIZES = (1, 3, 8)
ORDER = (3, 0, 6, 2, 5, 1, 7, 4)
"""Of the eight rows: short beside long."""


@dataclass(frozen=True)
class Base:
    """A tiny model of a real architecture, with a task.

    linear, square: names of its linear layers (square: of one shape, [16, 16]); embedding, norm,
    convolution, feedforward, head: of such modules where it has any; experts: of a fused tensor.
    """

    title: str
    task: str
    make: Callable[[], nn.Module]
    fit: Callable[[nn.Module], tasks.Task]
    rows: Callable[[], list[Any]]
    linear: list[str]
    square: list[str]
    norm: list[str]
    peft_task: str | None = None
    embedding: list[str] | None = None
    convolution: list[str] | None = None
    feedforward: list[str] | None = None
    head: list[str] | None = None
    experts: list[str] | None = None


@lru_cache
def tokenizer() -> transformers.PreTrainedTokenizerFast:
    return make_tokenizer(pad_token="<pad>", eos_token="<eos>")


def eight(rows: Sequence[Any]) -> list[Any]:
    return [rows[i % len(rows)] for i in range(8)]


def texts() -> list[dict]:
    return eight([
        {"prompt": text, "completion": TEXTS[-i - 1]} if i % 2 else {"text": text + "!"}
        for i, text in enumerate(TEXTS)
    ])  # fmt: skip


def labelled() -> list[dict]:
    return eight([{"text": text, "label": i % 3} for i, text in enumerate(TEXTS)])


def preferences() -> list[dict]:
    return eight([
        {"prompt": text, "chosen": TEXTS[-i - 1], "rejected": TEXTS[i - 1] + "?"}
        for i, text in enumerate(TEXTS)
    ])  # fmt: skip


def make_moe() -> nn.Module:
    torch.manual_seed(0)
    settings = SMALL | KV | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
                             "moe_intermediate_size": 8, "decoder_sparse_step": 1}  # fmt: skip
    return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**settings))


@lru_cache
def pipeline(name: str) -> Any:
    return tiny_pipelines.make_pipeline(name)


def make_denoiser(name: str) -> nn.Module:
    pipeline.cache_clear()
    return tiny_pipelines.denoiser_of(pipeline(name))


def text_task(kind: type) -> Callable[[nn.Module], tasks.Task]:
    return lambda model: kind(tokenizer()).for_model(model)


def to_image(name: str) -> Callable[[nn.Module], tasks.Task]:
    return lambda model: tasks.TextToImage(pipeline(name), timesteps=2).for_model(model)


def tiny(name: str) -> dict[str, Any]:
    return {
        "make": lambda: tiny_base(name),
        "fit": lambda model: tiny_task(name, model, tokenizer()),
        "rows": lambda: eight(TINY[name].rows),
        "peft_task": TINY[name].peft_task,
        "head": TINY[name].head,
    }


def ours(name: str, kind: type, rows: Callable[[], list[dict]]) -> dict[str, Any]:
    return {
        "make": lambda: make_base(name),
        "fit": text_task(kind),
        "rows": rows,
        "peft_task": "SEQ_CLS" if name in HEADS else "CAUSAL_LM",
        "head": HEADS.get(name),
    }


# transformers renamed a ViT's modules between 5.8 and 5.10.
RENAMED = "self.q_proj" in inspect.getsource(modeling_vit)
VIT_Q, VIT_V, VIT_OUT = (
    ("q_proj", "v_proj", "fc2") if RENAMED else ("query", "value", "output.dense")
)
LLAMA = {"linear": ["q_proj", "v_proj"], "square": ["q_proj"], "norm": ["input_layernorm"],
         "embedding": ["embed_tokens"], "feedforward": ["down_proj"]}  # fmt: skip
BERT = {"linear": ["query", "value"], "square": ["query"], "norm": ["LayerNorm"],
        "embedding": ["word_embeddings"], "feedforward": ["output.dense"]}  # fmt: skip
DENOISER = {"linear": ["to_q", "to_v"], "square": ["to_q"]}

BASES: dict[str, Base] = {
    "llama": Base("Llama", "causal LM", **ours("llama", tasks.CausalLM, texts), **LLAMA),
    "gpt2": Base("GPT-2", "causal LM", **ours("gpt2", tasks.CausalLM, texts),
                 linear=["c_attn"], square=["attn.c_proj"], norm=["ln_1"], embedding=["wte"],
                 feedforward=["mlp.c_proj"]),
    "moe": Base("Qwen3-MoE", "causal LM", make_moe, text_task(tasks.CausalLM), texts,
                peft_task="CAUSAL_LM",
                **LLAMA | {"feedforward": None, "experts": ["mlp.experts.gate_up_proj"]}),
    "llama-classes": Base("Llama", "classification",
                          **ours("llama-classifier", tasks.SequenceClassification, labelled),
                          **LLAMA),
    "llama-pairs": Base("Llama", "preference (DPO)",
                        **ours("llama", getattr(tasks, "Preference", tasks.CausalLM), preferences),
                        **LLAMA),
    "bert": Base("BERT", "classification",
                 **ours("bert", tasks.SequenceClassification, labelled), **BERT),
    "bert-regression": Base("BERT", "regression", **tiny("bert-regression"), **BERT),
    "bert-tags": Base("BERT", "token classification", **tiny("bert-tags"), **BERT),
    "t5": Base("T5", "seq2seq", **tiny("t5"), linear=["q", "v"], square=["q"],
               norm=["layer_norm"], embedding=["shared"], feedforward=["wo"]),
    "bart": Base("BART", "seq2seq", **tiny("bart"), linear=["q_proj", "v_proj"],
                 square=["q_proj"], norm=["final_layer_norm"], embedding=["shared"],
                 feedforward=["fc2"]),
    "vit": Base("ViT", "image classification", **tiny("vit"), linear=[VIT_Q, VIT_V],
                square=[VIT_Q], norm=["layernorm_before"], convolution=["projection"],
                feedforward=[VIT_OUT]),
    "unet": Base("SD UNet", "text-to-image", lambda: make_denoiser("sd1"), to_image("sd1"),
                 tiny_pipelines.make_examples, **DENOISER, norm=["norm1"],
                 convolution=["conv1"], feedforward=["ff.net.2"]),
    "dit": Base("SD3 DiT", "text-to-image", lambda: make_denoiser("sd3"), to_image("sd3"),
                tiny_pipelines.make_examples, **DENOISER, norm=["norm_q"],
                convolution=["pos_embed.proj"], feedforward=["ff.net.2"]),
}  # fmt: skip


class Lacking(Exception):
    """A base has no module of the kind that an adapter is for."""


def having(found: Any, what: str) -> Any:
    if not found:
        raise Lacking(f"the base has no {what}")
    return found


Adapter = Callable[[Base, nn.Module], nn.Module]


def by_peft(kind: str, *, targets: str | None = "linear", **options: Any) -> Adapter:
    """An adapter of peft; options that are functions are asked with the base."""

    def adapt(base: Base, model: nn.Module) -> nn.Module:
        told = {k: v(base) if callable(v) else v for k, v in options.items()}
        if targets is not None:
            told["target_modules"] = having(getattr(base, targets), targets)
        cls = getattr(peft, kind)
        if "fan_in_fan_out" in cls.__dataclass_fields__ and "gpt2" in str(type(model)).lower():
            told["fan_in_fan_out"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return peft.get_peft_model(model, cls(task_type=base.peft_task, **told))

    return adapt


def with_task_ids(adapter: Adapter) -> Adapter:
    """For adapters that want to be told which of several tasks a row belongs to."""

    def adapt(base: Base, model: nn.Module) -> nn.Module:
        adapted = adapter(base, model)

        def tell(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            first = next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))
            return args, kwargs | {"task_ids": torch.zeros(len(first), dtype=torch.long)}

        adapted.register_forward_pre_hook(tell, with_kwargs=True)
        return adapted

    return adapt


def mixture(base: Base, model: nn.Module) -> nn.Module:
    """X-LoRA: a trained gate over frozen LoRA adapters, which it loads from disk."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("0", "1"):
            config = peft.LoraConfig(
                task_type=base.peft_task, r=2, init_lora_weights=False, target_modules=base.linear
            )
            peft.get_peft_model(base.make(), config).save_pretrained(f"{folder}/{name}")
        model.requires_grad_(False)
        model.config.use_cache = False
        config = peft.XLoraConfig(
            task_type=base.peft_task, hidden_size=16, xlora_depth=1,
            adapters={name: f"{folder}/{name}" for name in ("0", "1")},
        )  # fmt: skip
        return peft.get_peft_model(model, config)


def one_of_two(base: Base, model: nn.Module) -> nn.Module:
    """The second of two LoRA adapters is the active one."""
    adapted = by_peft("LoraConfig", r=2)(base, model)
    adapted.add_adapter("second", peft.LoraConfig(r=3, target_modules=base.linear))
    adapted.set_adapter("second")
    return adapted


def trained(kinds: Sequence[str]) -> Adapter:
    """No adapter: parameters of the model itself, by patterns in their names."""

    def adapt(base: Base, model: nn.Module) -> nn.Module:  # noqa: ARG001
        found = 0
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(re.search(kind, name) for kind in kinds))
            found += parameter.requires_grad
        having(found, "such parameter")
        return model

    return adapt


class Bottleneck(nn.Module):
    """A layer, and beside it down, a nonlinearity and up again: a plain module in the model."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.down, self.up = layer, nn.Linear(width, 4), nn.Linear(4, width)

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        output = self.layer(*args, **kwargs)
        return output + self.up(torch.nn.functional.gelu(self.down(output)))


def bottleneck(base: Base, model: nn.Module) -> nn.Module:
    model.requires_grad_(False)
    ending = base.linear[-1]
    for name, module in list(model.named_modules()):
        if name.endswith(f".{ending}"):
            parent, _, own = name.rpartition(".")
            width = module.nf if hasattr(module, "nf") else module.out_features
            setattr(model.get_submodule(parent), own, Bottleneck(module, width))
    return model


def prompts(kind: str, **options: Any) -> Adapter:
    """Virtual tokens, which peft puts before text."""

    def adapt(base: Base, model: nn.Module) -> nn.Module:
        having(base.peft_task, "text to put prompts before")
        return by_peft(kind, targets=None, num_virtual_tokens=3, **options)(base, model)

    return adapt


TOKENS = [1, *range(30, 250, 7)]

ADAPTERS: dict[str, Adapter] = {
    "LoRA": by_peft("LoraConfig", r=2, lora_dropout=0.3),
    "LoRA, rank-stabilised": by_peft("LoraConfig", r=2, use_rslora=True),
    "LoRA with biases": by_peft("LoraConfig", r=2, lora_bias=True),
    "LoRA + BitFit": by_peft("LoraConfig", r=2, bias="all"),
    "LoRA + modules_to_save": by_peft(
        "LoraConfig", r=2, modules_to_save=lambda base: having(base.head, "head of its own")),
    "LoRA on embeddings": by_peft("LoraConfig", r=2, targets="embedding"),
    "LoRA on convolutions": by_peft("LoraConfig", r=2, targets="convolution"),
    "LoRA on target_parameters": by_peft(
        "LoraConfig", r=2, targets=None, target_modules=[],
        target_parameters=lambda base: having(base.experts, "fused experts")),
    "LoRA, one of two": one_of_two,
    "DoRA": by_peft("LoraConfig", r=2, use_dora=True),
    "DoRA on embeddings": by_peft("LoraConfig", r=2, use_dora=True, targets="embedding"),
    "DoRA on convolutions": by_peft("LoraConfig", r=2, use_dora=True, targets="convolution"),
    "AdaLoRA": by_peft("AdaLoraConfig", total_step=10),
    "LoHa": by_peft("LoHaConfig", r=2),
    "LoKr": by_peft("LoKrConfig", r=2),
    "VeRA": by_peft("VeraConfig", r=4, targets="square"),
    "IA³": by_peft(
        "IA3Config", target_modules=lambda base: base.linear + (base.feedforward or []),
        feedforward_modules=lambda base: base.feedforward or [], targets=None),
    "OFT": by_peft("OFTConfig", oft_block_size=4),
    "BOFT": by_peft("BOFTConfig", boft_block_size=4),
    "Prefix tuning": prompts("PrefixTuningConfig"),
    "Prefix tuning, projected": prompts(
        "PrefixTuningConfig", prefix_projection=True, encoder_hidden_size=8),
    "Prompt tuning": prompts("PromptTuningConfig"),
    "P-tuning": prompts("PromptEncoderConfig", encoder_hidden_size=8),
    "P-tuning, LSTM": prompts(
        "PromptEncoderConfig", encoder_hidden_size=8,
        encoder_reparameterization_type="LSTM"),
    "Multitask prompt tuning": with_task_ids(
        prompts("MultitaskPromptTuningConfig", num_tasks=2)),
    "Bottleneck": bottleneck,
    "BitFit": trained([r"\.bias$"]),
    "Norms": trained(["norm", "Norm", r"\.ln_"]),
    "Full fine-tuning": trained([""]),
    "LN tuning": by_peft("LNTuningConfig", targets="norm"),
    "Trainable tokens": by_peft(
        "TrainableTokensConfig", token_indices=TOKENS,
        target_modules=lambda base: having(base.embedding, "embedding"), targets=None),
    "LLaMA-Adapter": by_peft(
        "AdaptionPromptConfig", adapter_len=3, adapter_layers=1, targets=None),
    "FourierFT": by_peft("FourierFTConfig", n_frequency=10),
    "HRA": by_peft("HRAConfig", r=4),
    "VB-LoRA": by_peft(
        "VBLoRAConfig", r=2, num_vectors=6, vector_length=4, topk=2, targets="square"),
    "MiSS": by_peft("MissConfig", r=2),
    "RandLoRA": by_peft("RandLoraConfig", r=2, targets="square"),
    "RoAd": by_peft("RoadConfig", group_size=4, targets="square"),
    "SHiRA": by_peft("ShiraConfig", r=2),
    "C³A": by_peft("C3AConfig", block_size=4),
    "WaveFT": by_peft("WaveFTConfig", n_frequency=10),
    "OSF": by_peft("OSFConfig"),
    "DeLoRA": by_peft("DeloraConfig", r=2),
    "GraLoRA": by_peft("GraloraConfig", r=4, targets="square"),
    "HiRA": by_peft("HiraConfig", r=2),
    "Cartridge": prompts("CartridgeConfig"),
    "TinyLoRA": by_peft("TinyLoraConfig"),
    "PSOFT": by_peft("PsoftConfig", r=2),
    "PEANuT": by_peft("PeanutConfig", r=2),
    "Shadow": by_peft("ShadowConfig", targets=None),
    "Supertuning": by_peft("SupertuningConfig", targets=None),
    "DEFT": by_peft("DeftConfig"),
    "BEFT": by_peft("BeftConfig"),
    "Lily": by_peft("LilyConfig"),
    "FRoD": by_peft("FrodConfig"),
    "PVeRA": by_peft("PveraConfig", r=4, targets="square"),
    "GLoRA": by_peft("GloraConfig", r=2),
    "Poly": with_task_ids(by_peft("PolyConfig", r=2, n_tasks=2, n_skills=2)),
    "CPT": by_peft(
        "CPTConfig", cpt_token_ids=[5, 6, 7], cpt_mask=[1, 1, 1], cpt_tokens_type_mask=[1, 2, 4],
        targets=None),
    "Uni-LoRA": by_peft("UniLoraConfig", r=2),
    "AdaMSS": by_peft("AdamssConfig"),
    "X-LoRA": mixture,
}  # fmt: skip


NOISE = {"RandLoRA": 1e-3}
"""What is added to the trained parameters' initial values, if not 0.1: here they are multiplied
by large numbers, and float32 would round the rest away."""
TOLERANCE = 5e-5
FLOOR = 1e-2
"""Errors are relative to a block's norm, or to this much of the example's whole gradient if that
is larger: the gradient of a key's bias, say, is nothing but rounding."""
ROUNDING = {
    "AdaMSS": 1e-3, "FourierFT": 1e-4, "FRoD": 5e-4, "Poly": 2e-4, "PSOFT": 5e-3,
    "Multitask prompt tuning": 1e-4, "RandLoRA": 1e-4, "WaveFT": 1e-4, "DeLoRA": 1e-4,
    "unet": 1e-4, "llama-pairs": 1e-4,
}  # fmt: skip
"""What float32 may be off, by adapter or base, where what they do in between (bases from an SVD,
Fourier transforms, Cayley's, a router's tiny gradients, a UNet's depth, a
difference of two answers) rounds more: so much do
two orders of one sum differ. `EXACT` holds each to account in float64."""
EXACT = 1e-9
UNSURE = ("PSOFT",)
"""Adapters whose rounding passes the check at the start on one processor and not on another."""


def allowed(adapter: str, base: str) -> float:
    """The largest error of a cell in float32."""
    return max(TOLERANCE, ROUNDING.get(adapter, 0.0), ROUNDING.get(base, 0.0))


@dataclass(frozen=True)
class Outcome:
    """fast, fallback or not possible; why; and the worst error of any block of any example,
    relative to one-at-a-time autograd."""

    status: str
    why: str = ""
    error: float = 0.0


def build(adapter: str, base: Base, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A base with an adapter of random weights, as far from where training starts as it gets."""
    torch.manual_seed(0)
    model = ADAPTERS[adapter](base, base.make())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(NOISE.get(adapter, 0.1) * torch.randn_like(parameter))
    return model.to(dtype).eval()


def try_out(
    adapter: str, base: Base, dtype: torch.dtype = torch.float32, sizes: Sequence[int] = SIZES
) -> Outcome:
    """Do it: gradients in batches of several sizes, beside autograd on each example alone."""
    try:
        model = build(adapter, base, dtype)
        task = base.fit(model)
        chosen = select(model)
    except Lacking as error:
        return Outcome("not possible", str(error))
    except DatainfError as error:
        return Outcome("not possible", first_line(error.message))
    except Exception as error:
        return Outcome("not possible", first_line(error))
    rows = [base.rows()[i] for i in ORDER]
    engine = PerExample(model, chosen, task, CPU)
    with evaluating(model), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            engine.check(rows[:3])
        except VerificationError:
            return Outcome("not possible", MIXES)
        except DatainfError as error:
            if isinstance(error, ModelError) and error.__cause__ is not None:
                why = first_line(error.__cause__)
                return Outcome("not possible", f"its own forward fails: {why}")
            return Outcome("not possible", first_line(error.message))
        truth = each_alone(model, chosen, task, rows, CPU)
        worst = max(_error(engine, truth.gradients, rows, size) for size in sizes)
    said = [str(w.message) for w in caught if w.category is FallbackWarning]
    return Outcome("fallback" if said else "fast", reason(said[0]) if said else "", worst)


MIXES = "it mixes the examples of a batch; with --batch-tokens 1 each is alone, and exact"


PEFT_SAYS = {
    r"Conv1D.*(not support|does not support|not a plain)": "peft has it for no Conv1D layer",
    r"type Conv1D": "peft has it for no Conv1D layer",
    r"no trainable parameter": "peft finds no layer of a kind that it has it for",
    r"adaption prompt|attribute 'model_type'": "peft has it for no model of this kind",
    r"transformer backbone|decoder layers|'model_type'$|specify `target_modules`":
        "peft has it for no model of this kind",
    r"CPTConfig only supports": "peft has it for causal language models alone",
    r"Got unexpected keys|'model\..*\.weight'": "peft has it for decoders alone",
    r"NoneType' object is not iterable": "peft fails to find the embedding of this model",
    r"Target modules .*norm.* not found": "the base's norms have no weights",
}  # fmt: skip
"""What peft's errors mean, where they do not say it themselves."""


def first_line(error: object) -> str:
    """Of an error's text, without what changes from machine to machine."""
    text = (str(error).splitlines() or [""])[0]
    for pattern, meaning in PEFT_SAYS.items():
        if re.search(pattern, text):
            return meaning
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    return f"{type(error).__name__} {text}" if text in {"", "None"} else text[:150].rstrip(" .,")


def reason(said: str) -> str:
    """Why a fallback was taken, without the names of this model's modules."""
    if "since vmap" in said:
        return "modules run again one example after another: vmap cannot follow them"
    if "differs from plain autograd" in said:
        return "each example alone: a batch gives another gradient"
    if "cannot be told apart" in said:
        return "each example alone: a module's rows are not the examples"
    if "used outside" in said:
        return "each example alone: a parameter is used outside its module"
    return f"each example alone: {first_line(said.split('. Each example')[0])}"


def _error(engine: PerExample, truth: dict[str, torch.Tensor], rows: list, size: int) -> float:
    worst = 0.0
    totals = torch.stack([gradient.norm(dim=1) for gradient in truth.values()]).norm(dim=0)
    for start in range(0, len(rows), size):
        found = engine(rows[start : start + size]).gradients
        for name, gradient in truth.items():
            right = gradient[start : start + size]
            scale = right.norm(dim=1).clamp_min(FLOOR * totals[start : start + size])
            error = (found[name] - right).norm(dim=1) / scale.clamp_min(1e-30)
            worst = max(worst, float(error.max()))
    return worst
