"""What the findings say in words holds of the committed ledgers: their numbers are read from there,
their verdicts were written by people, and a ledger that is made anew may belie them."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

import pytest

from experiments.finished import read
from experiments.identification import Identification
from experiments.methods import VARIANTS
from experiments.plan import COMMITTED
from experiments.scaling.laws import cost_laws, error_laws
from experiments.sections import (
    adapters,
    approximation,
    damping,
    fullsize,
    images,
    mislabeled,
    norms,
    scaling,
    text,
)  # fmt: skip

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

    lead = [at("datainf", rank) - at("gradient", rank) for rank in glue_ranks]
    assert falls([at("datainf", rank) for rank in glue_ranks])
    assert lead[0] > 1.5 * lead[3] > 3 * lead[-1] > 0
    for rank in glue_ranks:
        assert at("gradient", rank) < at("weighted-gradient", rank) < at("datainf", rank)
        assert at("datainf", rank) < at("lissa 10", rank) < at("cg 2", rank) < at("cg 5", rank)
    assert at("datainf", 1, "residual") > 100
    assert at("weighted-gradient", 1, "scaled_residual") < at("datainf", 1, "scaled_residual") < 0.7
    others = [method for method in approximation.METHODS if method != "lissa 10"]
    for rank in glue_ranks:
        least = min(at(method, rank, "residual") for method in others)
        assert at("lissa 10", rank, "residual") < least


def test_mislabeled(results):
    def auc(name):
        return fmean(mislabeled.seed_means(results, name, "auc", mislabeled.DEPTH_RANK))

    def on(task, name):
        return fmean(mislabeled.values(results, name, "auc", task=task, rank=mislabeled.DEPTH_RANK))

    assert on("SST-2", "datainf") == CHANCE
    assert on("SST-2", "datainf") < on("SST-2", "exact") < 0.6
    assert auc("exact") < auc("datainf") < auc("gradient")
    for baseline in ("own loss", "representation similarity", "BM25"):
        assert auc(baseline) > auc("gradient") + 0.02
    for method in ("datainf", "gradient", "lissa 10", "exact"):
        assert auc(f"{method}, unit") > auc(method) + 0.05
    gained = auc("exact, model blocks, unit, λ trace:0.02") - auc("exact, model blocks, unit")
    assert gained > auc("exact, model blocks, unit") - auc("exact, model blocks")


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

    def quality(labels, rank):
        lines = results.ledgers["glue"].select(labels=labels, rank=rank)
        learnt = [line for line in lines if line["key"]["task"] != "WNLI"]
        return fmean(line["result"]["quality"]["test"]["accuracy"] for line in learnt)

    def norm(rank):
        lines = results.ledgers["glue"].select(labels="noisy", rank=rank)
        return fmean(line["result"]["norms"]["all"]["median"] for line in lines)

    for name in ("datainf, unit", "own loss"):
        assert falls([auc(name, rank) for rank in glue_ranks])
    low, high = glue_ranks[0], glue_ranks[-1]
    assert quality("noisy", low) - quality("noisy", high) > 0.03
    assert quality("clean", low) - quality("clean", high) < 0.01
    assert falls([norm(rank) for rank in glue_ranks])
    assert auc("datainf", low) < auc("datainf", high) < 0.65


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
    for epoch in (4, last):
        assert at(epoch, "auc", "datainf", tasks=["SST-2"]) < 0.55
    for task in settings.tasks:
        plain, unit = (at(last, "auc", n, tasks=[task]) for n in ("datainf", "datainf, unit"))
        assert unit > plain + 0.05
    shares = [
        fmean(
            line["result"]["norms"]["all"]["top_share"]
            for line in results.ledgers["glue"].select(labels="noisy", rank=rank)
        )
        for rank in (1, 4, 16)
    ]
    assert falls(shares[::-1])
    assert shares[2] > 0.5


def test_damping(results):
    tasks = mislabeled.learnt(results)
    alphas = damping.KINDS["dimension"][0]

    def at(method, lam, measure):
        return fmean(v for t in tasks for v in damping.values(results, method, lam, measure, t))

    aucs = [at("datainf", lam, "auc") for lam in alphas]
    assert max(aucs) - min(aucs) < 0.015
    assert all(at("datainf", lam, "before") > 0.99 for lam in alphas[1:])
    assert max(alphas, key=lambda lam: at("exact", lam, "auc")) == "100"
    same = [at("exact", lam, "auc") for lam in damping.ABSOLUTE]
    assert max(same) == pytest.approx(at("exact", "100", "auc"), abs=0.01)
    same = [at("datainf", lam, "auc") for lam in damping.ABSOLUTE]
    assert max(same) - min(same) < 0.01
    assert at("exact", "1000", "auc") == pytest.approx(at("exact", "100", "auc"), abs=0.02)
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
        assert falls([auc(task, "prompt", name) for name in ("cg 2", "cg 5", "exact")])
        for loss in ("prompt", "completion"):
            assert abs(auc(task, loss, "gradient") - auc(task, loss, "datainf")) < 0.02
        assert auc(task, half, "datainf, unit") > auc(task, "completion", "datainf")
        recall = [auc(task, "completion", name, "recall_mean") for name in ("datainf", "exact")]
        assert 0.2 < recall[0] < recall[1]
        best = max(auc(task, "completion", variant.name) for variant in VARIANTS)
        assert auc(task, "baselines", text.MEAN_STATE) > best
        for result in found.found(task):
            assert result["damping"]["prompt"]["exact"]["10"] > 0.95
    assert auc("maths", "completion", "exact") < auc("maths", "completion", "datainf")
    by_matches = sorted(text.PUBLISHED, key=lambda t: fmean(
        result["quality"]["after"]["accuracy"] for result in found.found(t)
    ))  # fmt: skip
    assert by_matches == sorted(text.PUBLISHED, key=lambda t: auc(t, "completion", "datainf"))


def test_text_without_leaks(results):
    found = Identification(results, "text", text.NAMES)

    def auc(task, group, name):
        return fmean(found.values(task, group, name, "auc_mean"))

    half = "completion, half way"
    assert auc("sentences-hard", "prompt", "datainf") == pytest.approx(0.5, abs=1e-6)
    hard = auc("sentences-hard", "completion", "datainf")
    assert auc("sentences-hard", "baselines", "BM25, text") + 0.3 < hard
    assert hard < auc("sentences-hard", half, "datainf, unit")
    last = auc("sentences-hard", "baselines", text.REPRESENTATION)
    assert auc("sentences-hard", half, "datainf, unit") < last
    told = [auc("maths-hard", group, "datainf") for group in ("completion", half)]
    assert told[0] < auc("maths-hard", "baselines", "BM25, text") < told[1]
    assert told[1] < auc("maths-hard", "baselines", text.MEAN_STATE)


def test_images(results):
    found = Identification(results, "images", images.NAMES)

    def aucs(task, name, group="mean"):
        return found.values(task, group, name, "auc_mean")

    def auc(task, name, group="mean"):
        return fmean(aucs(task, name, group))

    level = [auc("style", name, "concatenate") for name in ("datainf", "gradient")]
    assert level[0] == pytest.approx(level[1], abs=0.02)
    for seed in range(3):
        gradient, datainf, cg, exact = (
            aucs("subject", name)[seed] for name in ("gradient", "datainf", "cg 5", "exact")
        )
        assert gradient < datainf < min(cg, exact) - 0.05
    assert auc("style", "exact") < auc("style", "datainf")
    helped = [task for task in found.tasks if task != "style"]
    for task in helped:
        assert auc(task, "datainf") < auc(task, "datainf", "mean, equal norms")
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
    for adapter in ("bottleneck", "IA³"):
        assert near[adapter] > near["LoRA"] + 0.03


def test_fullsize(results):
    def near(method, task, rank):
        found = approximation.values(
            results, method, "pearson", study=fullsize.STUDY, task=task, rank=rank
        )
        return fmean(found)

    def aucs(name, task):
        return mislabeled.values(results, name, "auc", fullsize.STUDY, task=task, rank=4)

    assert near("datainf", "MRPC", 1) == pytest.approx(0.64, abs=0.1)
    assert near("gradient", "MRPC", 1) == pytest.approx(0.50, abs=0.1)
    for task in ("MRPC", "SST-2"):
        assert near("cg 2", task, 1) > near("datainf", task, 1) + 0.2
        for rank in (1, 4):
            assert 0 < near("datainf", task, rank) - near("gradient", task, rank) < 0.1
        pairs = zip(aucs("datainf", task), aucs("exact", task), strict=True)
        assert all(datainf > exact for datainf, exact in pairs)
        assert fmean(aucs("own loss", task)) > fmean(aucs("datainf", task)) + 0.03


def test_training_again_with_many_rows(results):
    again = fullsize.retrained(results)

    def kept(arm, measure):
        return fmean(again.values(arm, "SST-2", measure))

    assert all(gain < -0.01 for gain in again.gains("SST-2"))
    assert all(gain > 0.02 for gain in again.gains("SST-2", "oracle"))
    for arm in ("datainf, unit", "own loss", "representation similarity", "random"):
        assert abs(fmean(again.gains("SST-2", arm))) < 0.01
    assert kept("datainf", "flipped") < kept("random", "flipped") / 2
    for arm in ("datainf, unit", "own loss", "representation similarity"):
        assert kept(arm, "flipped") < kept("datainf", "flipped")
    for arm in ("datainf", "datainf, unit", "own loss", "representation similarity"):
        assert kept(arm, "loss") > 2 * kept("all", "loss") > 2 * kept("oracle", "loss")
    few = mislabeled.retrained(results)
    assert fmean(few.gains("SST-2")) < 0


def test_all_cells_are_finished(results):
    unfinished = [name for name in results.studies if not results.whole(name)]
    assert not unfinished


def test_runtime(results):
    [line] = results.ledgers["runtime"].select()
    found = line["result"]
    loops = {name: entry["as_released"] for name, entry in found["released"].items()}
    ours = {name: times["one query"]["seconds"] for name, times in found["ours"].items()}
    norms = found["squares"]["seconds"]
    assert ours["datainf"] < norms
    anew = {name: seconds + norms for name, seconds in ours.items()}
    ratios = [found["exact"] / found["datainf"] for found in (loops, ours, anew)]
    assert ratios[2] < ratios[0] / 2
    assert max(ratios) < 1149.6
    assert loops["datainf"] / anew["datainf"] < loops["exact"] / anew["exact"]
    assert (
        max(ours[name] for name in ("cg 5", "datainf", "exact")) * 10
        < (found["gradients"]["train"]["seconds"])
    )
    near = {name: entry["pearson"] for name, entry in found["agreement"].items()}
    assert near["gradient"] + 0.03 < near["lissa, as released"] < near["lissa 10"] - 0.03
    assert near["datainf"] < near["cg 5"] - 0.2


def test_scaling(results):
    ledger, settings = results.ledgers["scaling"], results.settings("scaling")

    def law(source, bounded="entries", lam=settings.entries[-1], side="below"):
        points = [p for line in ledger.select(gradients=source) for p in line["result"]["points"]]
        return error_laws(points)[bounded, lam, side].exponents

    assert law("decaying")["d"] == pytest.approx(2, abs=0.1)
    assert law("QQP")["d"] == pytest.approx(2, abs=0.3)
    assert law("isotropic")["d"] < 1.7
    assert law("isotropic")["n"] < -0.3
    for source in ("decaying", "QQP"):
        assert law(source)["n"] == pytest.approx(0, abs=0.05)
    for source in ("decaying", "isotropic"):
        assert law(source, "norm", 1.0, "between")["d"] < 0.05
    for line in ledger.select(gradients="QQP"):
        assert all(block["relative"] > 0.9 for block in line["result"]["blocks"])
        by_rows = [entry["datainf"]["pearson"] for entry in line["result"]["agreement"]]
        assert by_rows[-1] < by_rows[0]
    costs = cost_laws(
        [line["result"] for line in ledger.select() if line["key"]["gradients"] in scaling.KINDS]
    )
    for exponent in costs["datainf", "all"].exponents.values():
        assert exponent == pytest.approx(1, abs=0.25)
    for shape, nominal in (("d ≤ n", {"n": 1, "d": 2}), ("d > n", {"n": 2, "d": 1})):
        assert costs["exact", shape].exponents == pytest.approx(nominal, abs=0.5)
