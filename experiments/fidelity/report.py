"""FIDELITY.md, from the results alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.fidelity.first import first_measurements
from experiments.fidelity.likeness import folder_of
from experiments.fidelity.peers import PEERS
from experiments.fidelity.settings import SETTINGS, TASKS, VARIATIONS
from experiments.fidelity.verdicts import share, verdicts
from experiments.tables import MISSING, folded, table

Result = dict[str, Any]
PLACES = {"last": "last weights", "checkpoints": "checkpoints"}
PRODUCTS = {
    "gauss-newton": "3 and a Gram", "gauss-newton, no metric": "3 and a Gram",
    "gauss-newton, no unit norms": "3 and a Gram", "gauss-newton, all unit norms": "3 and a Gram",
    "gauss-newton, queries' unit norms": "3 and a Gram", "exact, drawn targets": "Gram and solve",
    "ridge": "5 (or a Gram)", "datainf": "3", "datainf, unit": "3", "exact": "Gram and solve",
    "exact, model": "Gram and solve", "exact, module": "Gram and solve", "gradient": "1",
    "cosine": "1", "recipe of the start": "Gram and solve", "exact, α = 10": "Gram and solve",
    "exact, unit, model": "Gram and solve", "ridge, metric fisher": "5 (or a Gram)",
    "ridge, no metric": "5 (or a Gram)", "ridge, no unit norms": "5 (or a Gram)",
}  # fmt: skip
HEAD = """# Do scores foretell what training again does?

Written by `python -m experiments.fidelity report` from the results in `results/desk/fidelity`;
`python -m experiments.fidelity run --data FOLDER` makes those, on two CPU cores.

A fine-tuning is done again on random halves of its training data, {parts} halves with {seeds} seeds
each, and the losses of its queries are noted. The **linear datamodeling score** (LDS; Park et al.,
TRAK, 2023) of a method is the rank correlation, over halves, of the sum of its scores over a half
with what became of a query, averaged over queries. In brackets: the 95 % bootstrap interval over
halves and queries. The **ceiling** is what the noise of training leaves: from the correlation r of
one seed's losses with another's, √(2r/(1 + r)) for the mean of two (Spearman, Brown).

Half of the queries are *held out*: the damping in the column "best damping" was chosen on them.
All figures are of the other half. "Own damping" is what a person gets: the paper's for `datainf`,
`exact` and their kin; for `gauss-newton` and `ridge` the rule of the learning rates, which takes no
retraining: c = 7 c₀ rows of drawn targets, and c = max(10, 3 c₀) rows; at the last weights alone
three times as much. The factor 7 was fitted on "SST-2 flipped", "writing styles" and "sentences" as
they stand here, with "emoji styles" looked at; `ridge`'s two constants on the same three and on
other trainings of SST-2 (500 flipped and clean rows for 8 epochs, 500 flipped ones for 4, 200 for
8). That `gauss-newton` divides by the root of norms was decided on all five tasks, the three times
on these and, with `ridge`, on the variations of 3 and 12 epochs, of n = 125 and 250, and "less
trained"; on the five tasks' held-out queries alone both come out the same. The other variations had
no part in anything.

"Last weights" are the adapter as the fine-tuning left it; "checkpoints" are the weights after
epochs 1, 2 and 4, scores summed with their learning rates. What `gauss-newton` and `ridge` are,
and why, is in [docs/gauss-newton.md](../docs/gauss-newton.md) and
[docs/ridge.md](../docs/ridge.md). Of "all methods", those "with drawn targets" take the same
curvature as `gauss-newton`.
"""


PEERS_ARE = [
    "Other tools ran on the same adapters in environments of their own "
    "([fidelity/peers](fidelity/peers/README.md)), at the last weights, which is all that these "
    "methods of theirs take, each with the best of its dampings. Where a cell holds words, they "
    "are what the tool ended with. Bergson reads language models alone: it loads a classifier's "
    "adapter as one, leaves out its head and its labels, and gives scores; they are not shown.",
    "",
]  # fmt: skip


def write(out: Path) -> Path:
    """Write the report; returns its path: beside the experiments for the committed results."""
    found = {name: made for name in SETTINGS if (made := read(name, out)) is not None}
    place = out.parents[2] if out.parts[-3:] == ("results", "desk", "fidelity") else out
    first = next(iter(found.values()), None)
    parts, seeds = ("50", "2") if first is None else _trainings(first)
    lines = [*HEAD.format(parts=parts, seeds=seeds).splitlines(), ""]
    tasks = {name: result for name, result in found.items() if name in TASKS}
    lines += [
        *summary(tasks), *verdicts(_with_ours(tasks)), *varied(found), *removals(tasks),
        *first_measurements(tasks),
    ]  # fmt: skip
    for name, result in tasks.items():
        lines += task(name, result)
    path = place / "FIDELITY.md"
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return path


def _with_ours(tasks: dict[str, Result]) -> dict[str, Result]:
    """Those that were judged since `gauss-newton` is there."""
    return {name: r for name, r in tasks.items() if "gauss-newton" in r["lds"]["checkpoints"]}


def read(name: str, out: Path) -> Result | None:
    path = folder_of(name, out) / "result.json"
    if not path.exists():
        return None
    result: Result = json.loads(path.read_text(encoding="utf-8"))
    beside = path.with_name(PEERS)
    known = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    return {**result, "peers": known}


def short(value: float, digits: int = 2) -> str:
    """.87 for 0.87."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def interval(values: list[float] | None) -> str:
    if values is None:
        return MISSING
    mean, low, high = values
    return f"{short(mean)} [{short(low)}, {short(high)}]"


def summary(tasks: dict[str, Result]) -> list[str]:
    """The methods that matter, task by task."""
    rows = [
        ("`gauss-newton`", "checkpoints", "gauss-newton", "own"),
        ("`gauss-newton`, best damping", "checkpoints", "gauss-newton", "best"),
        ("`gauss-newton`", "last", "gauss-newton", "own"),
        ("`ridge`", "checkpoints", "ridge", "own"),
        ("`ridge`", "last", "ridge", "own"),
        ("`datainf`", "last", "datainf", "own"),
        ("`datainf`", "checkpoints", "datainf", "own"),
        ("`exact`, a block a tensor", "last", "exact", "own"),
        ("`exact`, a block a tensor, best damping", "checkpoints", "exact", "best"),
        ("`gradient`", "last", "gradient", "own"),
        ("`gradient`", "checkpoints", "gradient", "own"),
        ("representation similarity, centred", "baselines",
         "representation similarity, centred", "own"),
        ("representation similarity × label", "baselines",
         "representation similarity × label", "own"),
        ("BM25", "baselines", "BM25", "own"),
        ("own loss", "baselines", "own loss", "own"),
        ("chance", "baselines", "chance", "own"),
    ]  # fmt: skip
    body = []
    for label, place, way, which in rows:
        cells = []
        for result in tasks.values():
            judged = result["lds"][place].get(way)
            cells.append(MISSING if judged is None else interval(judged[which]))
        body.append((label, PLACES.get(place, ""), *cells))
    body += peers(tasks)
    body.append(("**ceiling**", "", *(short(r["ceiling"]["bound"]) for r in tasks.values())))
    body.append(
        ("seed to seed", "", *(short(r["ceiling"]["seed_to_seed"]) for r in tasks.values()))
    )
    return ["## LDS", "", *table(("method", "gradients at", *tasks), body), *PEERS_ARE]


def peers(tasks: dict[str, Result]) -> list[tuple[str, ...]]:
    """Other tools, each at the last weights by the best of its dampings, or why there is none."""
    names = list(dict.fromkeys(name for r in tasks.values() for name in r["peers"]))
    rows = []
    for name in names:
        cells = []
        for result in tasks.values():
            peer = result["peers"].get(name, {})
            judged = peer.get("lds")
            cells.append(
                interval(judged["best"] or judged["own"]) if judged else peer.get("error", MISSING)
            )
        rows.append((name, PLACES["last"], *cells))
    return rows


def varied(found: dict[str, Result]) -> list[str]:
    """The damping's rule on trainings that it was not made on."""
    rows, varieties = [], []
    for name in VARIATIONS:
        if (result := found.get(name)) is None:
            continue
        varieties.append(result)
        ways = result["lds"]["checkpoints"]
        ours = ways.get("gauss-newton")
        rows.append((
            name, f"{result['n']:,}", MISSING if ours is None else interval(ours["own"]),
            MISSING if ours is None else f"{interval(ours['best'])} ({ours['damping']})",
            interval(ways["ridge"]["own"]), interval(ways["datainf"]["own"]),
            interval(ways["exact"]["best"]),
            interval(ways["gradient"]["own"]), short(result["ceiling"]["bound"]),
            f"{share(result):.0%}",
        ))  # fmt: skip
    if not rows:
        return []
    header = ("fine-tuning", "n", "`gauss-newton`, own damping", "`gauss-newton`, best damping",
              "`ridge`", "`datainf`", "`exact`, best damping", "`gradient`", "ceiling",
              "the default's share of it")  # fmt: skip
    return ["## Other sizes, ranks, lengths and adapters", "",
            "30 halves with two seeds each; all methods at the checkpoints. The default is `ridge` "
            "for SST-2 and MRPC, and `gauss-newton` for the writing styles.", "",
            *table(header, rows),
            f"On average {fmean(map(share, varieties)):.0%} of the ceiling. Of the classifiers, "
            f"`gauss-newton` is above `ridge` on {_better(found)}.",
            ""]  # fmt: skip


def _better(found: dict[str, Result]) -> str:
    """The classifiers' variations on which `gauss-newton` has more of the ceiling, by what it has
    more."""
    gains = {}
    for name in VARIATIONS:
        if name in found and found[name]["settings"]["kind"] == "classification":
            ways = found[name]["lds"]["checkpoints"]
            gains[name] = ways["gauss-newton"]["own"][0] - ways["ridge"]["own"][0]
    ordered = sorted(gains, key=lambda name: -gains[name])
    return "; ".join(f"{name} (by {gains[name]:.2f})" for name in ordered if gains[name] > 0.005)


def removals(tasks: dict[str, Result]) -> list[str]:
    """What became of the queries without the examples that a method named."""
    known = {name: r["removal"] for name, r in tasks.items() if "removal" in r}
    if not known:
        return []
    arms = list(dict.fromkeys(arm for r in known.values() for arm in r["arms"]))
    lines = [
        "## Removal tests", "",
        "A tenth of the training rows is left out, and the fine-tuning done again with three "
        "seeds: the change of the reported queries' mean loss, with its 95 % interval over seeds "
        "and queries. Leaving out what a method calls most helpful should raise losses, most "
        "harmful lower them, by more than leaving out as many at random. Methods are at the last "
        "weights unless it says `checkpoints`.", "",
    ]  # fmt: skip
    for end in ("helpful", "harmful"):
        lines += [f"Without the most {end}:", ""]
        rows = [
            (arm, *(
                f"{v[0]:+.3f} [{v[1]:+.3f}, {v[2]:+.3f}]" if (v := _end(r, arm, end)) else MISSING
                for r in known.values()
            ))
            for arm in arms
        ]  # fmt: skip
        lines += table(("named by", *known), rows)
    return lines + _concentrated(known)


def _concentrated(known: dict[str, Result]) -> list[str]:
    """How one-sided the rows are that were left out."""
    arms = list(dict.fromkeys(arm for r in known.values() for arm in r.get("of one class", ())))
    if not arms:
        return []
    rows = [
        (arm, *(
            " / ".join(f"{share:.0%}" for share in shares)
            if (shares := r.get("of one class", {}).get(arm)) else MISSING
            for r in known.values()
        ))
        for arm in arms
    ]  # fmt: skip
    return [
        "Share of the most frequent class (label, style, kind of task) among the rows left out, "
        "helpful / harmful. A classifier that loses a quarter of one label is worse for it "
        "whatever the rows say; scores, which are first-order, do not foresee that.", "",
        *table(("named by", *known), rows),
    ]  # fmt: skip


def _end(removal: Result, arm: str, end: str) -> list[float] | None:
    found: list[float] | None = removal["arms"].get(arm, {}).get(end)
    return found


def task(name: str, result: Result) -> list[str]:
    """One task in full."""
    lines = [f"## {name}", "", _about(result), ""]
    rows = []
    for place, ways in result["lds"].items():
        for way, judged in ways.items():
            auc = result["auc"].get(way if place == "baselines" else f"{way} @ {place}")
            best = MISSING if judged["best"] is None else (
                f"{interval(judged['best'])} ({judged['damping']})")  # fmt: skip
            rows.append((
                way, PLACES.get(place, ""), interval(judged["own"]), best,
                MISSING if auc is None else short(auc), PRODUCTS.get(way, MISSING),
                short(judged["seconds"], 2) if judged["seconds"] else MISSING,
            ))  # fmt: skip
    header = ("method", "gradients at", "own damping", "best damping", "AUC, flipped labels",
              "products a store", "seconds, all its dampings")  # fmt: skip
    return [*lines, *folded("All methods", table(header, rows))]


def _about(result: Result) -> str:
    losses, recipe = result["losses"], result["settings"]["recipe"]
    return (
        f"{result['n']:,} training rows, {result['m']} queries; {result['parameters']:,} "
        f"parameters in {result['blocks']} tensors, r = {recipe['rank']}; learning rate "
        f"{recipe['learning_rate']:g} falling in a line, {recipe['epochs']} epochs in batches of "
        f"{recipe['batch']}. Mean loss of the queries {losses['queries, before']:.2f} → "
        f"{losses['queries, after']:.2f}, after training on halves "
        f"{losses['queries, after halves']:.2f}; of the training rows "
        f"{losses['training, before']:.2f} → {losses['training, after']:.2f}. "
        f"{result['machine']}."
    )


def _trainings(result: Result) -> Iterable[str]:
    return str(result["settings"]["parts"]), str(len(result["settings"]["seeds"]))
