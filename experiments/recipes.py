"""What the paper's runs were made with, and what these were: the deviations, in one place."""

from __future__ import annotations

from typing import Any

from experiments.cells import Study
from experiments.glue.settings import MINILM
from experiments.tables import folded, table

Recipe = dict[str, str]
"""What is set → how."""

BASES = {
    MINILM: "all-MiniLM-L6-v2, 6 layers of 384",
    "bases:llama": "Llama of 4 layers of 192 over bytes, pretrained on made-up text of the same "
    "kind (bases/llama)",
    "bases:unet": "text-conditional UNet of diffusers for 32 pixels, channels 48 and 96, "
    "pretrained on other emoji (bases/unet)",
}
"""The desk's, in a few words."""
PAPER: dict[str, Recipe] = {
    "glue": {
        "base": "RoBERTa-large, 24 layers of 1,024",
        "training / validation rows": "4,500 / 500; MRPC 3,668 / 408, WNLI 635 / 71",
        "adapter": "LoRA on `value`, α = r, dropout .05",
        "learning rate, batch, epochs": "3e-4, 32, 10",
        "flipped labels": "20 %",
        "gradients of": "A, B and the head's output weight",
        "seeds": "20",
    },
    "text": {
        "base": "Llama-2-13B-chat, 8 bit",
        "training / test rows": "900 / 100",
        "adapter": "LoRA on q, v; r = 8, α = 32",
        "learning rate, batch": "3e-4, 64",
    },
    "images": {
        "base": "Stable Diffusion 1.5",
        "pictures": "style: 200 + 50 a style; subject: 31 subjects, 3 + 1–3 each",
        "adapter": "LoRA on the UNet's attention; r = 1 for style, 4 for subject",
        "learning rate, batch, steps": "1e-4, 4, 10,000",
    },
}


def recipes(studies: dict[str, Study]) -> list[str]:
    """Tables of the paper's settings beside those of the studies."""
    ours = {
        "GLUE": ("glue", [_glue(studies[name]) for name in ("glue", "fullsize")],
                 ("here", "here, the paper's number of rows")),
        "Text": ("text", [_text(studies["text"].settings)], ("here",)),
        "Images": ("images", [_images(studies["images"].settings)], ("here",)),
    }  # fmt: skip
    lines = []
    for title, (name, found, columns) in ours.items():
        paper = PAPER[name]
        rows = [
            (what, paper.get(what, ""), *(recipe.get(what, "") for recipe in found))
            for what in dict.fromkeys([*paper, *found[0]])
        ]
        lines += table((f"*{title}*", "the paper", *columns), rows)
    return folded("What differs from the paper: models, sizes, training", lines)


def _glue(study: Study) -> Recipe:
    settings = study.settings
    seeds = sorted(set(settings.noisy_seeds.values()), reverse=True)
    return {
        "base": _base(settings.base),
        "training / validation rows": f"at most {settings.train_rows:,} / "
        f"{settings.validation_rows}, drawn anew for each seed",
        "clean test rows": f"{settings.test_rows}, drawn with the training rows from the training "
        "split",
        "tasks": ", ".join(settings.tasks),
        "adapter": f"LoRA on {', '.join(f'`{t}`' for t in settings.targets)}, α = r, dropout "
        f"{settings.lora_dropout:g}{'' if settings.base_dropout else '; none in the base'}",
        "learning rate, batch, epochs": f"{settings.learning_rate:g}, {settings.batch}, "
        f"{settings.epochs}",
        "flipped labels": f"each label with probability {settings.noise:g}",
        "gradients of": "A, B and the head's output weight"
        + ("" if settings.released_blocks else " and bias"),
        "seeds": " or ".join(map(str, seeds)),
    }


def _text(settings: Any) -> Recipe:
    classes = 10
    return {
        "base": _base(settings.base),
        "training / test rows": f"{settings.train_per_class * classes} / "
        f"{settings.test_per_class * classes}",
        "adapter": f"LoRA on {', '.join(settings.targets)}; r = {settings.rank}, α = "
        f"{settings.alpha}, dropout {settings.lora_dropout:g}",
        "learning rate, batch": f"{settings.learning_rate:g}, {settings.batch}",
        "epochs": f"{settings.epochs} (the paper does not say)",
        "seeds": str(settings.seeds),
    }


def _images(settings: Any) -> Recipe:
    sizes = settings.sizes
    steps = " and ".join(f"{t.steps.count:,}" for t in (settings.style, settings.subject))
    return {
        "base": _base(settings.base),
        "pictures": f"style: {sizes.style_train} + {sizes.style_queries} a style; subject: "
        f"{sizes.subjects} subjects, {sizes.subject_train} + 1–{sizes.subject_queries} each",
        "adapter": f"the same; r = {settings.style.rank} and {settings.subject.rank}",
        "learning rate, batch, steps": f"{settings.style.steps.learning_rate:g}, "
        f"{settings.style.steps.batch}, {steps}",
        "seeds": str(settings.seeds),
    }


def _base(base: str | None) -> str:
    return "a UNet trained in the cell" if base is None else BASES.get(base, base)
