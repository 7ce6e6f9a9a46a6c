"""datainf score --check: what a person is told about stores that were made smaller."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from conftest import make_rows, write_rows
from datainf import attribute
from datainf.cli import compression
from datainf.config import RunConfig
from datainf.evaluation import CompressionCheck, check_compression, rank_correlations
from datainf.evaluation import compression as library
from datainf.gradients import sample
from datainf.run_stores import RunStores
from datainf.runs import run

N, KEPT = 12, 9
HINT = "the stores are smaller than the gradients: "


@pytest.fixture(scope="module")
def place(tmp_path_factory, saved_llama):
    """A folder with data, a full run and a smaller one that keeps nine examples in full."""
    folder = tmp_path_factory.mktemp("compression")
    rows = [row | {"id": f"r{i}"} for i, row in enumerate(make_rows("llama") * 2)]
    rows = [{"prompt": "", "completion": row.pop("text"), **row} if "text" in row else row
            for row in rows]  # fmt: skip
    train = write_rows(folder / "train.jsonl", rows)
    query = write_rows(folder / "query.jsonl", rows[:4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "MOST_ROWS", KEPT)
        for name, more in (("full", {}), ("small", {"store": "int8", "project": 4})):
            adapter = str(saved_llama[1])
            run(RunConfig(str(train), str(query), str(folder / name), adapter=adapter, **more))
    return folder


def words(text):
    return " ".join(text.split())


def check_of(run):
    stores = RunStores.open(run)
    (check,) = check_compression(stores.train, stores.query, curvature=stores.curvature)
    return check


def says(out, check):
    """Whether the verdict that is printed is the check's."""
    can = "can" if check.trusted else "cannot"
    return f"the smaller rows {can} be trusted for gauss-newton: rank" in words(out)


def files(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_is_checked_by_its_own_method_and_nothing_is_written(place, datainf):
    before = files(place)
    code, out, err = datainf("score", place / "small", "--check")
    assert code == 0, err
    assert files(place) == before
    check = check_of(place / "small")
    assert check.method == "gauss-newton"
    assert f"{check.correlation:.4f}" in out or f"{check.correlation:.3f}" in out
    assert check.damping in out
    assert f"over {KEPT} examples and 4 queries; a row takes 1/" in words(out)
    shown = float(re.search(r"a row takes 1/([\d.]+) of the space", words(out))[1])
    assert shown == pytest.approx(check.full_bytes / check.stored_bytes, abs=0.05)
    assert f"same of the {check.top} most helpful" in words(out)
    assert says(out, check)


def test_the_figures_are_those_of_a_full_run_s_gradients(place):
    small, full = (RunStores.open(place / name) for name in ("small", "full"))
    (check,) = check_compression(small.train, small.query, "datainf")
    kept = [store.sample.ids for store in (*small.train, *small.query)]
    assert kept[0] == [f"r{N * place // KEPT}" for place in range(KEPT)]
    right, found = (
        attribute(run.train[0].pick(kept[0]), run.query[0].pick(kept[1]), "datainf").values
        for run in (full, small)
    )
    assert check.correlations.tolist() == pytest.approx(rank_correlations(right, found).tolist())


def test_inspect_shows_what_is_kept_of_each_tensor(place, datainf):
    code, out, err = datainf("inspect", place / "small")
    assert code == 0, err
    blocks = RunStores.open(place / "small").train[0].index.blocks
    assert f"in {len(blocks)} tensors; --store int8 --project 4" in words(out)
    assert any(block.columns < block.width for block in blocks)
    assert all(f"{b.columns:,} of {b.width:,}" in out for b in blocks if b.columns < b.width)


def test_stores_by_themselves_new_queries_and_several_dampings(place, datainf, tmp_path):
    small = place / "small"
    code, out, err = datainf(
        "score", "--train", small / "train", "--query", small / "query", "--check",
        "--method", "exact", "--damping", "0.1", "--damping", "trace:0.5",
    )  # fmt: skip
    assert code == 0, err
    stores = RunStores.open(small)
    checks = check_compression(stores.train, stores.query, "exact", dampings=["0.1", "trace:0.5"])
    for check in checks:
        assert compression._figures(check) in words(out)
    assert "exact with damping trace:0.5" in words(out)
    code, _, err = datainf("collect", small, "--data", place / "train.jsonl", "--limit", 2,
                           "--out", tmp_path / "more")  # fmt: skip
    assert code == 0, err
    code, out, err = datainf("score", small, "--query", tmp_path / "more", "--check")
    assert code == 0, err
    assert f"over {KEPT} examples and 2 queries" in words(out)


def test_with_a_folder_it_scores_too(place, datainf, tmp_path):
    plain, both = tmp_path / "plain", tmp_path / "both"
    code, _, err = datainf("score", place / "small", "--out", plain)
    assert code == 0
    assert HINT + "the same command with --check says" in words(err)
    code, out, err = datainf("score", place / "small", "--check", "--out", both)
    assert code == 0
    assert HINT not in words(err)
    assert says(out, check_of(place / "small"))
    name = "scores.safetensors"
    assert (both / name).read_bytes() == (plain / name).read_bytes()
    code, _, err = datainf("score", place / "small")
    assert code == 1
    assert f"try: --out {place / 'small' / 'scores'}; only --check does without" in words(err)
    code, _, err = datainf("score", place / "small", "--method", "exact")
    assert f"try: --out {place / 'small' / 'exact'};" in words(err)


def test_what_is_scored_is_looked_at_before_where_it_goes(place, datainf):
    for arguments, said in (
        ([place], "is no finished run: it has no run.yaml"),
        ([place / "smal"], f"there is no folder {place / 'smal'}; did you mean {place / 'small'}?"),
        ([place / "x" / "run"], f"there is no folder {place / 'x'} either"),
        ([], "nothing to score was named"),
        (["--train", place / "full"], "full is not a gradient store"),
    ):
        code, _, err = datainf("score", *arguments)
        assert code == 1
        assert said in words(err)
        assert "nowhere to write" not in err


def test_of_full_stores_there_is_nothing_to_check(place, datainf, tmp_path):
    code, out, err = datainf("score", place / "full", "--check")
    assert code == 0
    assert "hold full gradients: there is nothing to check" in words(err)
    assert out == ""
    code, _, err = datainf("score", place / "full", "--out", tmp_path / "scores")
    assert code == 0
    assert HINT not in words(err)
    code, *_ = datainf("score", place / "full", "--check", "--out", tmp_path / "scores")
    assert code == 0
    assert (tmp_path / "scores" / "scores.parquet").exists()


@pytest.mark.parametrize("options", [("--store", "int8"), ("--project", "4"), ()])
def test_attribute_names_the_check_where_it_made_stores_smaller(options, place, datainf, tmp_path):
    settings = place / "full" / "run.yaml"
    code, _, err = datainf("attribute", "--config", settings, *options, "--out", tmp_path / "run")
    assert code == 0, err
    said = f"{HINT}datainf score {tmp_path / 'run'} --check says whether the scores survive it"
    assert (said in words(err)) == bool(options)
    for changed in ("projected without an optimizer's moments", "metric none in place of fisher"):
        assert (changed in words(err)) == ("--project" in options)


def test_examples_that_are_not_kept_yet_are_added_by_the_same_command(
    place, datainf, tmp_path, monkeypatch
):
    monkeypatch.setattr(sample, "MOST_ROWS", KEPT)
    run = tmp_path / "run"
    shutil.copytree(place / "small", run)
    shutil.rmtree(run / "query" / "sample")
    code, out, err = datainf("score", run, "--check")
    assert code == 1
    assert "query keeps no examples in full" in words(err)
    assert "try: collect it again by the same command" in words(err)
    assert out == ""
    code, _, err = datainf("attribute", "--config", run / "run.yaml", "--out", run)
    assert code == 0, err
    code, out, err = datainf("score", run, "--check")
    assert code == 0, err
    assert says(out, check_of(run))


def test_low_figures_come_with_a_warning_and_a_remedy(place, datainf, monkeypatch):
    arguments = ("score", place / "small", "--check", "--method", "datainf")
    monkeypatch.setattr(library, "GOOD_CORRELATION", -1)
    monkeypatch.setattr(library, "GOOD_OVERLAP", 0)
    code, out, _ = datainf(*arguments)
    assert code == 0
    assert "the smaller rows can be trusted for datainf: rank correlation" in words(out)
    assert "warning" not in out
    assert "try:" not in out
    assert "asked for" not in out
    monkeypatch.setattr(library, "GOOD_CORRELATION", 1.01)
    code, out, _ = datainf(*arguments)
    assert code == 0
    assert "warning: the smaller rows cannot be trusted for datainf: rank correlation" in words(out)
    assert "try: a smaller --project" in words(out)
    assert "a stronger --damping, such as trace:0.02:" in words(out)
    code, out, _ = datainf(*arguments, "--damping", "trace:0.02", "--damping", "0.1")
    assert code == 0
    assert "a stronger --damping, such as trace:0.1:" in words(out)
    code, out, _ = datainf("score", place / "small", "--check", "--method", "gradient")
    assert code == 0
    assert "try: a smaller --project" in words(out)
    assert "--damping" not in out, "it has none"


@pytest.mark.parametrize(
    ("used", "stronger"),
    [
        ("0.1", "trace:0.02"),
        ("30", "150"),
        ("trace:0.02", "trace:0.1"),
        ("trace:0.1", "trace:0.5"),
        ("trace:0.2", None),
        ("rows:37.5", "rows:190"),
        ("abs:1e-3", "abs:0.005"),
    ],
)
def test_a_damping_that_is_advised_is_stronger(used, stronger):
    assert compression.stronger_than(used) == stronger


def test_the_bounds_are_said():
    out = Console(width=200, record=True, highlight=False)
    compression.print_checks(out, [make_check([0.9], overlap=0.6)])
    assert (
        "asked for: a rank correlation of 0.95, and 7 of the 10 most helpful and of the 10 most "
        "harmful"
    ) in words(out.export_text())


def make_check(correlations, overlap=0.85, examples=256):
    found = torch.tensor(correlations, dtype=torch.float64)
    shares = torch.full_like(found, overlap).where(~found.isnan(), torch.nan)
    return CompressionCheck("cg", "0.1", found, shares, shares, 10, examples, 296_000, 4_774)


def test_the_sentence():
    def printed(*checks):
        out = Console(width=200, record=True, highlight=False)
        compression.print_checks(out, list(checks))
        return words(out.export_text())

    text = printed(make_check([0.9987] * 50))
    assert (
        "the smaller rows can be trusted for cg: rank correlation 0.9987, 8.5 of the top 10 the "
        "same, over 256 examples and 50 queries; a row takes 1/62 of the space"
    ) in text
    nan = float("nan")
    text = printed(make_check([0.98, nan, nan], examples=1000))
    assert "correlation 0.980" in text
    assert "over 1,000 examples and 1 query; a row" in text
    assert "full gradients score all examples alike for 2 queries" in text
    text = printed(make_check([nan]))
    assert "nothing to compare for cg: full gradients score all examples alike for 1 query" in text
    assert "try:" not in text
    text = printed(make_check([0.99]), replace(make_check([0.9]), damping="1"))
    assert "can be trusted for cg with damping 0.1: rank" in text
    assert "cannot be trusted for cg with damping 1: rank" in text
    assert "try:" in text
