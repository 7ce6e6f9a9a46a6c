"""The paper's Table 1, images: do pictures of the query's style or subject have high scores?"""

from __future__ import annotations

from typing import Any

from experiments.methods import VARIANTS
from experiments.report import Results
from experiments.tables import bold_best, folded, spread, table

TITLE = "Influential data, images (Table 1)"
PUBLISHED = {
    "style": {"gradient": (".692", ".533"), "datainf": (".820", ".687")},
    "subject": {"gradient": (".820", ".210"), "datainf": (".865", ".315")},
}
NOTEBOOK = {"style": {"gradient": ".612", "datainf": ".599"}}
"""AUC in the released notebook, unlike the paper's table."""
NAMES = {
    "style": "style", "subject": "subject", "style-unnamed": "style, not named in the prompt",
    "subject-unnamed": "subject, not named in the prompt",
}  # fmt: skip
MEASURES = {"auc_mean": "AUC", "recall_mean": "recall"}
WAYS = {
    "mean": "averaged over timesteps",
    "concatenate": "timesteps side by side, as released",
    "mean, equal norms": "averaged, timesteps' norms made equal",
}


def lines_of(results: Results, task: str) -> list[dict[str, Any]]:
    return results.ledgers["images"].select(task=task)


def values(results: Results, task: str, way: str, name: str, measure: str) -> list[float]:
    """A figure of every finished seed; `baselines` is a way too."""
    found = [
        line["result"]["baselines"] if way == "baselines" else line["result"]["detection"][way]
        for line in lines_of(results, task)
    ]
    return [entry[name][measure] for entry in found if name in entry]


def tasks(results: Results) -> list[str]:
    """The tasks that have a finished cell."""
    return [task for task in results.settings("images").tasks if lines_of(results, task)]


def write(results: Results) -> list[str]:
    lines = [
        "A training picture is relevant to a query if both have the same style, or the same "
        "subject. AUC and recall as for text; means over the queries, ± the standard deviation of "
        "that mean over seeds.",
        "",
        *published(results),
        *losses(results),
    ]
    for way, title in WAYS.items():
        part = detection(results, way, "auc_mean")
        lines += part if way == "mean" else folded(f"AUC; {title}", part)
    for way, title in WAYS.items():
        lines += folded(f"Recall; {title}", detection(results, way, "recall_mean"))
    return [*lines, *norms(results), *galleries(results)]


def published(results: Results) -> list[str]:
    rows = []
    for task in tasks(results):
        for method in ("gradient", "datainf"):
            paper = " / ".join(PUBLISHED.get(task, {}).get(method, ()))
            ours = [
                " / ".join(spread(values(results, task, way, method, m)) for m in MEASURES)
                for way in WAYS
            ]
            notebook = NOTEBOOK.get(task, {}).get(method, "")
            rows.append((NAMES[task], method, paper, notebook, *ours))
    header = ("task", "method", "published AUC / recall", "released notebook, AUC")
    return table((*header, *(f"here, {n}" for n in WAYS.values())), rows)


def losses(results: Results) -> list[str]:
    wanted = (
        "train, before", "train, after", "query, before", "query, after",
        "query, after, another name",
    )  # fmt: skip
    rows = []
    for task in tasks(results):
        found = [line["result"]["loss"] for line in lines_of(results, task)]
        rows.append((NAMES[task], *(spread([e[w] for e in found if w in e], 4) for w in wanted)))
    header = ("task", "train before", "after", "queries before", "after")
    last = "after, another class's name in the prompt"
    return ["Mean squared error over the six timesteps:", "", *table((*header, last), rows)]


def detection(results: Results, way: str, measure: str) -> list[str]:
    found = tasks(results)
    first = lines_of(results, found[0])[0]["result"]
    names = [("baselines", name) for name in first["baselines"]]
    names += [(way, v.name) for v in VARIANTS if v.name in first["detection"][way]]
    columns = [
        bold_best([spread(values(results, task, group, name, measure)) for group, name in names])
        for task in found
    ]
    return table(
        (f"{MEASURES[measure]} by", *(NAMES[task] for task in found)),
        zip([name for _, name in names], *columns, strict=True),
    )


def norms(results: Results) -> list[str]:
    rows = [
        (NAMES[task], *(f"{norm:.2g}" for norm in found.values()))
        for task in tasks(results)
        if (found := lines_of(results, task)[0]["result"]["timestep_norms"])
    ]
    steps = results.settings("images").timesteps
    return folded(
        "Root mean square norm of the training gradients by timestep, seed 0",
        table(("task", *map(str, steps)), rows),
    )


def galleries(results: Results) -> list[str]:
    """Each task's pictures, as its first cell left them."""
    out = []
    for task in tasks(results):
        link = results.kept("images", {"task": task, "seed": 0}, "gallery.png")
        if link is not None:
            out += [f"![Queries with what was attributed to them: {NAMES[task]}]({link})", ""]
    return out
