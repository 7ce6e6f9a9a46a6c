"""How DataInf's error and cost grow with the number of examples n and a block's width d.

The paper bounds the error by O(d²), for bounded gradients and λ bounded below, and has O(n d) for
the cost. Both are measured on gradients drawn at random, isotropic and with a decaying spectrum as
real ones have, and the error on real gradients, of which rows and columns are left out.

The error is ‖D‖₂ of `experiments.scaling.spectral`. It is measured for λ fixed in two ways:

- *entries*: gradients of mean squared entry 1, so that ‖g‖² grows as d. With λ = 0.1 this is the
  paper's damping at any width.
- *norm*: gradients of mean squared norm 1.

`relative` is λ‖D‖₂, which is between 0 and 1, `absolute` is ‖D‖₂, whose ceiling is 1/λ. D(cG, c²λ)
is D(G, λ)/c², so both ways are measured on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import datainf
from datainf.estimators import (
    ConjugateGradient,
    DataInf,
    Estimator,
    Exact,
    Gradient,
    LiSSA,
    WeightedGradient,
)
from datainf.estimators.base import BlockScores
from datainf.evaluation import agreement
from datainf.linalg import Damping, from_dense
from experiments.cells import Key
from experiments.cost.mean_query import mean_query
from experiments.cost.timing import alternating, whole
from experiments.glue.cell import Run, gradients
from experiments.glue.data import split
from experiments.glue.finetune import lora
from experiments.glue.likeness import likeness
from experiments.scaling.settings import SYNTHETIC, ScalingSettings
from experiments.scaling.spectral import InverseGap

METHODS: tuple[Estimator, ...] = (DataInf(), Exact())
COMPARED: tuple[Estimator, ...] = (
    Gradient(), WeightedGradient(), DataInf(), LiSSA(steps=10), ConjugateGradient(steps=5)
)  # fmt: skip


def run(key: Key, settings: ScalingSettings, folder: Path) -> dict[str, Any]:
    if key["gradients"] in SYNTHETIC:
        G = synthetic(key["gradients"], key["n"], key["d"], key["seed"], settings.decay)
        return {"points": [point(G, settings)], **costs(G, settings)}
    done = real(key, settings, folder)
    store = done.train
    return {
        "points": [point(G, settings) for G in cuts(store, key["seed"], settings)],
        "blocks": [block_error(store, block.name) for block in store.index.blocks],
        "agreement": agreements(done, settings.ns, key["seed"], folder),
    }


def synthetic(kind: str, n: int, d: int, seed: int, decay: float) -> np.ndarray:
    """Rows of norm 1, [n, d]."""
    G = np.random.default_rng([seed, n, d]).standard_normal((n, d))
    if kind == "decaying":
        G *= np.arange(1, d + 1) ** (-decay / 2)
    G /= np.linalg.norm(G, axis=1, keepdims=True)
    return G


def point(G: np.ndarray, settings: ScalingSettings) -> dict[str, Any]:
    """The errors for every λ, and the bound that rows of these norms have for a λ."""
    n, d = G.shape
    gap = InverseGap(G / np.sqrt(np.square(G).sum(axis=1).mean()))
    errors = []
    for bounded, size, lams in (("entries", d, settings.entries), ("norm", 1, settings.norm)):
        for lam in lams:
            ratio = lam / size
            relative, bound = ratio * gap.norm(ratio), ratio * gap.bound(ratio)
            errors.append({
                "bounded": bounded, "lambda": lam, "relative": relative,
                "absolute": relative / lam, "ceiling": 1 / lam, "bound": bound / lam,
            })  # fmt: skip
    return {"n": n, "d": d, "largest_sq_norm": float(gap.sq_norms.max()), "errors": errors}


def costs(G: np.ndarray, settings: ScalingSettings) -> dict[str, Any]:
    """Seconds of scoring all rows for one query by both methods, from float32 gradients."""
    rows = torch.from_numpy(G).float()
    query = rows.mean(dim=0, keepdim=True)
    lam = Damping().lambda_of(from_dense(rows))

    def score(method: Estimator) -> BlockScores:
        return method.fit(from_dense(rows)).scores(query, lam)

    calls = {method.name: whole(partial(score, method)) for method in METHODS}
    times = alternating(calls, rounds=settings.rounds, once_above=settings.once_above)
    return {"seconds": {name: timed.medians["seconds"] for name, timed in times.items()}}


def real(key: Key, settings: ScalingSettings, folder: Path) -> Run:
    """A fine-tuned model with its gradients, of the parameters that the settings say."""
    sizes = replace(settings.glue, data=settings.data)
    rows = split(key["gradients"], sizes, sizes.noise, key["seed"])
    return gradients(rows, sizes, lora(sizes, key["rank"]), key["seed"], folder)


def agreements(done: Run, ns: Sequence[int], seed: int, folder: Path) -> list[dict[str, Any]]:
    """How near to `exact` each method and baseline is where only n training rows are there, n by
    n: of one model's gradients, so that nothing else changes with n."""
    store, query = done.train, mean_query(done.query, folder / "mean")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(store)))
    baselines = likeness(done.model, done.task, done.split, seed) | {"own loss": -store.losses}
    out = []
    for n in ns:
        if n > len(store):
            continue
        influence = {}
        for method in (*COMPARED, Exact()):
            total = torch.zeros(n, dtype=torch.float64)
            for name, block in store.blocks.items():
                G = from_dense(block.to_dense()[order[:n]])
                if (lam := Damping().lambda_of(G)) > 0:
                    V = query.blocks[name].to_dense()
                    total += method.fit(G).scores(V, lam).values[0].double()
            influence[method.name] = total
        exact = influence.pop(Exact().name)
        influence |= {name: values[order[:n]] for name, values in baselines.items()}
        out.append({"n": n} | {m: agreement(v, exact) for m, v in influence.items()})
    return out


def cuts(
    store: datainf.GradientStore, seed: int, settings: ScalingSettings
) -> Iterator[np.ndarray]:
    """The first n of the rows and d of all blocks' columns, both shuffled, for every n and d."""
    draw = np.random.default_rng(seed)
    G = torch.cat([block.to_dense() for block in store.blocks.values()], dim=1).numpy()
    rows, columns = draw.permutation(G.shape[0]), draw.permutation(G.shape[1])
    for n in settings.ns:
        for d in settings.ds:
            if n <= G.shape[0] and d <= G.shape[1]:
                yield G[np.ix_(rows[:n], columns[:d])].astype(np.float64)


def block_error(store: datainf.GradientStore, name: str) -> dict[str, Any]:
    """λ‖D‖₂ of one whole block with the paper's λ."""
    block = store.blocks[name]
    lam, gap = Damping().lambda_of(block), InverseGap(block.to_dense().numpy())
    return {"block": name, "d": block.shape[1], "relative": lam * gap.norm(lam)}
