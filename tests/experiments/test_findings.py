"""What the findings say in words holds of the committed ledgers: their numbers are read from there,
their verdicts were written by people, and a ledger that is made anew may belie them."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

import pytest

from experiments.identification import Identification
from experiments.plan import COMMITTED
from experiments.report import read
from experiments.sections import adapters, approximation, damping, images, mislabeled, norms, text

CHANCE = pytest.approx(0.5, abs=0.05)


@pytest.fixture(scope="module")
def results():
    return read(COMMITTED / "desk", "desk")


@pytest.fixture(scope="module")
def glue_ranks(results):
    return sorted(results.settings("glue").noisy_seeds)


def falls(values):
    return all(later < earlier for earlier, later in pairwise(values))


def test_approximation(results, glue_ranks):
    def at(method, rank, measure="pearson"):
        return fmean(approximation.values(results, method, measure, labels="noisy", rank=rank))

    assert falls([at("datainf", rank) for rank in glue_ranks])
    assert at("gradient", 1) < at("weighted-gradient", 1) < at("datainf", 1) - 0.05
    assert (
        at("gradient", 8) < at("weighted-gradient", 8) < at("datainf", 8) < at("gradient", 8) + 0.06
    )
    for rank in glue_ranks:
        assert at("datainf", rank) < at("lissa 10", rank) < at("cg 2", rank) < at("cg 5", rank)
    assert at("datainf", 1, "residual") > 100
    assert at("weighted-gradient", 1, "scaled_residual") < at("datainf", 1, "scaled_residual") < 0.7


def test_mislabeled(results):
    def auc(name):
        return fmean(mislabeled.seed_means(results, name, "auc", mislabeled.DEPTH_RANK))

    assert auc("exact") < auc("datainf") == pytest.approx(auc("gradient"), abs=0.01)
    for baseline in ("own loss", "representation similarity", "BM25"):
        assert auc(baseline) > auc("datainf") + 0.02
    for method in ("datainf", "gradient", "lissa 10"):
        assert auc(f"{method}, unit") > auc(method) + 0.05
    assert auc("exact, model blocks, unit, λ trace:0.02") > auc("exact") + 0.05


def test_retraining(results):
    again = mislabeled.retrained(results)

    def kept(arm, task, measure="accuracy"):
        return fmean(again.values(arm, task, measure))

    assert kept("all", "MRPC") < kept("random", "MRPC") < kept("datainf", "MRPC")
    assert kept("datainf", "SST-2") < kept("random", "SST-2") < kept("all", "SST-2")
    assert kept("all", "SST-2") < kept("own loss", "SST-2")
    assert kept("datainf", "QQP") < kept("all", "QQP")
    assert kept("datainf", "SST-2", "flipped") < kept("random", "SST-2", "flipped")
    assert fmean(kept("oracle", task) - kept("all", task) for task in ("MRPC", "QQP", "SST-2")) > 0
    arms = again.lines("WNLI")[0]["result"]["retraining"]
    assert all(kept(arm, "WNLI") < 0.5 for arm in arms)


def test_rank(results, glue_ranks):
    def auc(name, rank):
        return fmean(mislabeled.seed_means(results, name, "auc", rank))

    for name in ("datainf, unit", "own loss"):
        assert falls([auc(name, rank) for rank in glue_ranks])
    plain = [auc("datainf", rank) for rank in glue_ranks]
    assert max(plain) - min(plain) < 0.05
    assert all(value < 0.6 for value in plain)


def test_norms(results):
    settings = results.settings("training")
    last = settings.epochs[-1]

    def at(epoch, *path, tasks=settings.tasks):
        return fmean(v for t in tasks for v in norms.values(results, t, epoch, *path))

    assert at(last, "norms", "all", "max") > 10 * at(0, "norms", "all", "max")
    assert at(last, "norms", "all", "max") > 10 * at(last, "norms", "all", "median")
    medians = [at(epoch, "norms", "all", "median") for epoch in settings.epochs]
    assert max(medians) < 2.5 * min(medians)
    assert medians[0] < max(medians) > medians[-1]
    assert at(0, "norm_and_loss", "spearman") < 0.5 < 0.95 < at(last, "norm_and_loss", "spearman")
    assert at(last, "auc", "datainf", tasks=["SST-2"]) == CHANCE
    unit = {e: at(e, "auc", "datainf, unit", tasks=["SST-2"]) for e in settings.epochs}
    assert max(unit, key=unit.get) == 4
    assert unit[last] > 0.7


def test_damping(results):
    tasks = results.settings("glue").tasks
    alphas = damping.KINDS["dimension"][0]

    def at(method, lam, measure):
        return fmean(v for t in tasks for v in damping.values(results, method, lam, measure, t))

    aucs = [at("datainf", lam, "auc") for lam in alphas]
    assert max(aucs) - min(aucs) < 0.015
    assert all(at("datainf", lam, "before") > 0.99 for lam in alphas[1:])
    assert max(alphas, key=lambda lam: at("exact", lam, "auc")) == "100"
    assert falls([-at("datainf", lam, "exact") for lam in ("0.1", "1", "10", "100", "1000")])
    for lam in ("0.001", "0.01"):
        assert at("cg 5", lam, "auc") > at("exact", lam, "auc")


def test_text(results):
    found = Identification(results, "text", text.NAMES)

    def auc(task, group, name, measure="auc_mean"):
        return fmean(found.values(task, group, name, measure))

    half = "completion, half way"
    for task in text.PUBLISHED:
        assert auc(task, "prompt", "datainf") > 0.998
        assert auc(task, "baselines", "BM25, prompt") > 0.998
        assert auc(task, "prompt", "exact") < 0.7
        for loss in ("prompt", "completion"):
            assert abs(auc(task, loss, "gradient") - auc(task, loss, "datainf")) < 0.02
        assert auc(task, half, "datainf, unit") > auc(task, "completion", "datainf")
        recall = [auc(task, "completion", name, "recall_mean") for name in ("datainf", "exact")]
        assert 0.2 < recall[0] < recall[1]
    assert auc("sentences-hard", "prompt", "datainf") == pytest.approx(0.5, abs=1e-6)
    hard = auc("sentences-hard", "completion", "datainf")
    assert auc("sentences-hard", "baselines", "BM25, text") + 0.3 < hard
    assert hard < auc("sentences-hard", half, "datainf, unit")
    assert auc("sentences-hard", half, "datainf, unit") < auc(
        "sentences-hard", "baselines", text.REPRESENTATION
    )


def test_images(results):
    found = Identification(results, "images", images.NAMES)

    def auc(task, name, group="mean"):
        return fmean(found.values(task, group, name, "auc_mean"))

    for way in ("mean", "concatenate"):
        assert auc("style", "datainf", way) < auc("style", "gradient", way)
    assert auc("subject", "gradient") < auc("subject", "datainf") < auc("subject", "cg 5")
    assert auc("subject", "exact") == pytest.approx(auc("subject", "cg 5"), abs=0.01)
    assert auc("style", "exact") < auc("style", "datainf")
    assert auc("subject", "datainf") < auc("subject", "datainf", "mean, equal norms")
    assert auc("style", "datainf") > auc("style", "datainf", "mean, equal norms")
    middle = "representations, middle block"
    assert auc("style", middle, "baselines") > auc("style", "gradient")
    assert auc("subject", middle, "baselines") < auc("subject", "exact")


def test_adapters(results):
    def at(adapter, figure, **key):
        return fmean(figure(r) for r in adapters.results_of(results, adapter, **key))

    def auc(name):
        return lambda r: r["detection"][name]["auc"]

    names = results.settings("adapters").adapters
    gain = {a: at(a, auc("datainf, unit")) - at(a, auc("datainf")) for a in names}
    assert min(gain.values()) > 0
    assert min(gain, key=gain.get) == "prefix tuning"
    on_qqp = [at("prefix tuning", auc(n), task="QQP") for n in ("datainf", "datainf, unit")]
    assert on_qqp[1] <= on_qqp[0]
    near = {a: at(a, lambda r: r["agreement"]["none, tensor"]["datainf"]["pearson"]) for a in names}
    assert min(near, key=near.get) == "prefix tuning"
