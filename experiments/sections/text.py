"""The paper's Table 1, text: do a test row's class-mates in training have the highest scores?"""

from __future__ import annotations

from typing import Any

from experiments.identification import MEASURES, Identification
from experiments.published import Published
from experiments.report import Results
from experiments.tables import folded, spread, table

TITLE = "Influential data, text (Table 1)"
PUBLISHED = {
    "sentences": {"gradient": (".999", ".985"), "datainf": ("1.000", ".997")},
    "maths": {"gradient": (".770", ".258"), "datainf": ("1.000", ".999")},
    "maths-reasoning": {"gradient": (".772", ".258"), "datainf": ("1.000", ".996")},
}
"""AUC and recall, Llama-2-13B-chat."""
NAMES = {
    "sentences": "sentence transformations",
    "sentences-hard": "the same, no name or title in the prompt",
    "maths": "maths without reasoning",
    "maths-reasoning": "maths with reasoning",
    "maths-hard": "the same, one story for all classes",
}
LOSSES = {
    "completion": "loss on the completion",
    "completion, half way": "loss on the completion, half way through training",
    "prompt": "loss on the prompt with its padding, as released",
}


def write(results: Results) -> list[str]:
    found = Identification(results, "text", NAMES)
    others = [loss for loss in LOSSES if loss != "completion"]
    return [
        "A training row is relevant to a test row if both have the same class. AUC of the scores, "
        "and recall: the share of relevant rows among the 90 with the highest scores; means over "
        "100 test rows, ± the standard deviation of that mean over seeds.",
        "",
        *found.beside_published(PUBLISHED, LOSSES),
        *quality(found),
        *found.detection("completion", "auc_mean"),
        *folded(f"Recall; {LOSSES['completion']}", found.detection("completion", "recall_mean")),
        *(
            line
            for loss in others
            for measure, what in MEASURES.items()
            for line in folded(f"{what}; {LOSSES[loss]}", found.detection(loss, measure))
        ),
        *folded("Standard deviation of the AUC over test rows", deviations(found)),
        *folded("What was found: training rows with the highest datainf scores", shown(found)),
    ]


def published(results: Results) -> list[Published]:
    settings = results.settings("text")
    rows = settings.train_per_class * 10
    return Identification(results, "text", NAMES).published(
        PUBLISHED, "completion", "Llama-2-13B-chat, loss on the prompt, 900 rows",
        f"a 4-layer Llama over bytes, loss on the completion, {rows} rows",
    )  # fmt: skip


def quality(found: Identification) -> list[str]:
    """Exact matches before and after."""
    rows = []
    for task in found.tasks:
        seeds = [result["quality"] for result in found.found(task)]
        rows.append(
            (
                NAMES[task],
                *(
                    spread([entry[when][what] for entry in seeds], 2)
                    for what in ("accuracy", "any_class", "loss")
                    for when in ("before", "after")
                ),
            )
        )
    header = (
        "task",
        "exact before",
        "after",
        "some class's before",
        "after",
        "loss before",
        "after",
    )
    return [
        "What the base can do before and after fine-tuning: exact matches of greedy completions; "
        "matches of what any class would make of the same phrase, for prompts that do not say "
        "which is meant; mean loss in nats a token.",
        "",
        *table(header, rows),
    ]


def deviations(found: Identification) -> list[str]:
    methods = ("gradient", "datainf", "exact", "gradient, unit")
    return table(
        ("method", *(NAMES[task] for task in found.tasks)),
        [
            (name, *(spread(found.values(t, "completion", name, "auc_std")) for t in found.tasks))
            for name in methods
        ],
    )


def shown(found: Identification) -> list[str]:
    """Test rows with the training rows that helped them most."""
    out = []
    for task in found.tasks:
        for example in found.found(task)[0]["examples"]:
            out += [f"*{NAMES[task]}*, class {example['class']}:", "", "```text", _text(example)]
            out += [
                f"  {top['score']:+.3g}  [{top['class']}]  {_text(top)}" for top in example["top"]
            ]
            out += ["```", ""]
    return out


def _text(row: dict[str, Any]) -> str:
    text = f"{row['prompt']}⟦{row['completion']}⟧"
    return text.replace("\n", " ⏎ ").replace("`", "'")
