"""What decides the text runs.

PAPER is the paper's: Llama-2-13B-chat on an 8-bit base, LoRA on q_proj and v_proj, r = 8, α = 32,
learning rate 3e-4, batches of 64, 900 training and 100 test rows. The paper does not say for how
many epochs, nor the dropout and the schedule: these are the defaults of the trainer that its
authors released (10 epochs, .05, linear decay), but for its accumulation of 16 batches, with
which 900 rows would make one step an epoch. DESK keeps rows, adapter and recipe, and changes the
base for a small one that was pretrained on text of the same kind (experiments/bases/llama), with
a learning rate that suits its size and no dropout. QUICK is a cut of DESK.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from experiments.cells import GRID, Key


@dataclass(frozen=True)
class TextSettings:
    """A base is a folder, a hub id, or `bases:` and the name of a folder in experiments/bases."""

    base: str
    learning_rate: float
    epochs: int
    batch: int
    lora_dropout: float
    eight_bit: bool = False
    dtype: str = "float32"
    rank: int = 8
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    warmup: float = 0.1
    train_per_class: int = 90
    test_per_class: int = 10
    max_length: int | None = None
    """Most tokens of an example; None: the base's own limit."""
    prompt_length: int = 128
    """Most tokens of a prompt in the loss of the released code."""
    norm_rows: int = 10
    """Every so many-th training row has its gradient's norm followed through the training."""
    batch_tokens: int = 4096
    tasks: tuple[str, ...] = field(
        default=("sentences", "sentences-hard", "maths", "maths-reasoning", "maths-hard"),
        metadata=GRID,
    )
    seeds: int = field(default=3, metadata=GRID)


PAPER = TextSettings(
    base="meta-llama/Llama-2-13b-chat-hf", eight_bit=True, dtype="bfloat16", learning_rate=3e-4,
    epochs=10, batch=64, lora_dropout=0.05, warmup=0.0, max_length=256,
)  # fmt: skip
DESK = TextSettings(
    base="bases:llama", learning_rate=5e-3, epochs=4, batch=15, lora_dropout=0.0, prompt_length=512
)
QUICK = replace(
    DESK, epochs=1, batch=10, train_per_class=8, test_per_class=2, seeds=1, norm_rows=8,
    tasks=("sentences-hard", "maths"),
)  # fmt: skip
SETTINGS = {"desk": DESK, "quick": QUICK, "paper": PAPER}


def cells(settings: TextSettings) -> list[Key]:
    """Seed by seed, so that a run that is cut short has all tasks."""
    return [{"task": t, "seed": seed} for seed in range(settings.seeds) for t in settings.tasks]
