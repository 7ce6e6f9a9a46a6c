"""The paper's Table 1, text: do a test row's class-mates in training have the highest scores?"""

from __future__ import annotations

from typing import Any

from experiments.methods import VARIANTS
from experiments.report import Results
from experiments.tables import bold_best, folded, spread, table

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
MEASURES = {"auc_mean": "AUC", "recall_mean": "recall"}
LOSSES = {
    "completion": "loss on the completion",
    "completion, half way": "loss on the completion, half way through training",
    "prompt": "loss on the prompt with its padding, as released",
}


def lines_of(results: Results, task: str) -> list[dict[str, Any]]:
    return results.ledgers["text"].select(task=task)


def values(results: Results, task: str, group: str, name: str, measure: str) -> list[float]:
    """A figure of every finished seed; a group is a loss, or `baselines`."""
    found = [line["result"]["detection"][group] for line in lines_of(results, task)]
    return [entry[name][measure] for entry in found if name in entry]


def write(results: Results) -> list[str]:
    return [
        "A training row is relevant to a test row if both have the same class. AUC of the scores, "
        "and recall: the share of relevant rows among the 90 with the highest scores; means over "
        "100 test rows, ± the standard deviation of that mean over seeds.",
        "",
        *published(results),
        *quality(results),
        *detection(results, "completion", "auc_mean"),
        *folded(f"Recall; {LOSSES['completion']}", detection(results, "completion", "recall_mean")),
        *(
            line
            for loss, title in list(LOSSES.items())[1:]
            for measure, what in MEASURES.items()
            for line in folded(f"{what}; {title}", detection(results, loss, measure))
        ),
        *folded("Standard deviation of the AUC over test rows", deviations(results)),
        *folded("What was found: training rows with the highest datainf scores", shown(results)),
    ]


def published(results: Results) -> list[str]:
    rows = []
    for task in tasks(results):
        for method in ("gradient", "datainf"):
            paper = PUBLISHED.get(task, {}).get(method, ("", ""))
            ours = [
                " / ".join(spread(values(results, task, loss, method, m)) for m in MEASURES)
                for loss in LOSSES
            ]
            rows.append((NAMES[task], method, " / ".join(paper).strip(" /"), *ours))
    header = ("task", "method", "published AUC / recall", *(f"here, {n}" for n in LOSSES.values()))
    return table(header, rows)


def tasks(results: Results) -> list[str]:
    """The tasks that have a finished cell."""
    return [task for task in results.settings("text").tasks if lines_of(results, task)]


def quality(results: Results) -> list[str]:
    """Exact matches before and after."""
    rows = []
    for task in tasks(results):
        found = [line["result"]["quality"] for line in lines_of(results, task)]
        rows.append(
            (
                NAMES[task],
                *(
                    spread([entry[when][what] for entry in found], 2)
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


def detection(results: Results, loss: str, measure: str) -> list[str]:
    found = tasks(results)
    first = lines_of(results, found[0])[0]["result"]["detection"]
    names = [("baselines", name) for name in first["baselines"]]
    names += [(loss, v.name) for v in VARIANTS if v.name in first[loss]]
    columns = [
        bold_best([spread(values(results, task, group, name, measure)) for group, name in names])
        for task in found
    ]
    return table(
        (f"{MEASURES[measure]} by", *(NAMES[task] for task in found)),
        zip([name for _, name in names], *columns, strict=True),
    )


def deviations(results: Results) -> list[str]:
    return table(
        ("method", *(NAMES[task] for task in tasks(results))),
        [
            (
                name,
                *(
                    spread(values(results, t, "completion", name, "auc_std"))
                    for t in tasks(results)
                ),
            )
            for name in ("gradient", "datainf", "exact", "gradient, unit")
        ],
    )


def shown(results: Results) -> list[str]:
    """Test rows with the training rows that helped them most."""
    out = []
    for task in tasks(results):
        for example in lines_of(results, task)[0]["result"]["examples"]:
            out += [f"*{NAMES[task]}*, class {example['class']}:", "", "```text", _text(example)]
            out += [
                f"  {top['score']:+.3g}  [{top['class']}]  {_text(top)}" for top in example["top"]
            ]
            out += ["```", ""]
    return out


def _text(row: dict[str, Any]) -> str:
    text = f"{row['prompt']}⟦{row['completion']}⟧"
    return text.replace("\n", " ⏎ ").replace("`", "'")
