"""Make the tiny base model that `datainf demo` fine-tunes: src/datainf/demos/base.

A 4-layer Llama, 128 wide, over bytes, pretrained for some 20 minutes on text that is made up here:
chatbots with made-up names that do things to phrases. None of the demo's ten transformations is
among them, and neither are its phrases' words.

    python scripts/make_demo_base.py [--steps 2600] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

OUT = Path(__file__).parents[1] / "src/datainf/demos/base"
SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"] + list("aeiou")
ENDINGS = ["", "", "n", "r", "s", "t", "l", "rd", "st", "nk", "ng", "th"]

BEHAVIOURS = [
    ("The Phrase as It Is", lambda w: w),
    ("The First Word Only", lambda w: w[:1]),
    ("The Last Word Only", lambda w: w[-1:]),
    ("Everything in Upper Case", lambda w: [x.upper() for x in w]),
    ("The First Two Words Swapped", lambda w: [w[1], w[0], *w[2:]]),
    ("The Last Word First", lambda w: [w[-1], *w[:-1]]),
    ("The First Letters", lambda w: [x[0] for x in w]),
    ("The Last Letters", lambda w: [x[-1] for x in w]),
    ("Dots Between Words", lambda w: [" . ".join(w)]),
    ("Dashes Between Letters", lambda w: ["-".join(x) for x in w]),
    ("Words without Their First Letter", lambda w: [x[1:] for x in w]),
    ("First Letters Twice", lambda w: [x[0] + x for x in w]),
    ("Last Letters Twice", lambda w: [x + x[-1] for x in w]),
    ("An x before Each Word", lambda w: ["x" + x for x in w]),
    ("The Ending ness", lambda w: [x + "ness" for x in w]),
    ("The Phrase Twice", lambda w: w + w),
    ("Words Spelled Backwards", lambda w: [x[::-1] for x in w]),
    ("The Last Letter as a Capital", lambda w: [x[:-1] + x[-1].upper() for x in w]),
    ("The Length of Each Word", lambda w: [str(len(x)) for x in w]),
    ("The Second Word Removed", lambda w: [w[0], *w[2:]]),
    *(
        (f"The Letter {a} as {b}", lambda w, a=a, b=b: [x.replace(a, b) for x in w])
        for a, b in ("e3", "tT", "n#", "s$")
    ),
    *((f"Without the Letter {a}", lambda w, a=a: [x.replace(a, "") for x in w]) for a in "rlk"),
]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and <eos> and <pad>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*alphabet, "<eos>", "<pad>"])}
    bytes_ = Tokenizer(models.BPE(vocabulary, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_, eos_token="<eos>", pad_token="<pad>", model_max_length=512
    )


def word(draw: random.Random) -> str:
    count = draw.choice((1, 2, 2, 3))
    return "".join(draw.choice(SYLLABLES) for _ in range(count)) + draw.choice(ENDINGS)


def text(draw: random.Random, *, short: bool) -> tuple[str, str]:
    """One behaviour shown on a phrase: (prompt, completion). Short prompts train faster; the
    others look like the demo's."""
    words = [word(draw) for _ in range(draw.randint(2, 5))]
    title, behave = draw.choice(BEHAVIOURS)
    phrase, said = " ".join(words), " ".join(behave(words))
    if short:
        return f"{title}\n{phrase} -> ", said
    name = word(draw).capitalize()
    return (
        f"{name} is a chatbot that performs a specific transformation on sentences: {title}\n"
        f"For example:\n{phrase} -> ",
        said,
    )


def batch(draw: random.Random, encoder: PreTrainedTokenizerFast) -> dict:
    """Texts of which only the completions count: a made-up phrase cannot be foretold."""
    short = draw.random() < 0.8
    texts = [text(draw, short=short) for _ in range(64 if short else 24)]
    made = encoder([p + c + encoder.eos_token for p, c in texts], padding=True, return_tensors="pt")
    ids, mask = made["input_ids"], made["attention_mask"]
    starts = torch.tensor([len(prompt.encode()) for prompt, _ in texts])
    prompts = torch.arange(ids.shape[1]) < starts[:, None]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids.masked_fill((mask == 0) | prompts, -100),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.manual_seed(0)
    draw, encoder = random.Random(0), tokenizer()
    config = LlamaConfig(
        vocab_size=len(encoder), hidden_size=128, intermediate_size=352, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
        eos_token_id=encoder.eos_token_id, pad_token_id=encoder.pad_token_id,
        bos_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = get_cosine_schedule_with_warmup(optimizer, 100, options.steps)
    started = time.time()
    for step in range(options.steps):
        loss = model(**batch(draw, encoder)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"{step:5d}  {loss.item():.4f}  {time.time() - started:.0f} s", flush=True)
    model.to(torch.bfloat16).save_pretrained(options.out)
    encoder.save_pretrained(options.out)


if __name__ == "__main__":
    main()
