"""Scores that memory has no room for, and the settings that are named then."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from datainf.config import RunConfig
from datainf.planning import disk, method
from datainf.planning.method import Sizes, scoring_of
from datainf.planning.plan import Disk, Form
from datainf.store import Block, Index

CONFIG = RunConfig("t", "q", "o", adapter="a", method="exact", blocks="model")
BLOCKS = [Block(f"layer.{i}.{part}", (8, 512), f"layer.{i}") for i in range(24) for part in "AB"]
INDEX = Index(50_000, "float32", BLOCKS, {}, 1024)
SIZES = Sizes(examples=50_000, queries=20, checkpoints=1, index=INDEX, can_draw=True)
GB = 10**9


def test_scoring_is_as_the_settings_say():
    found = scoring_of(replace(CONFIG, blocks="module", metric="fisher"), SIZES)
    assert (found.method, found.n, found.N, found.m) == ("exact", 50_000, 50_000, 20)
    assert found.widths == (2 * 8 * 512,) * 24
    assert (found.drawn, found.keep, found.passes) == (False, None, 2)
    drawn = scoring_of(replace(CONFIG, method="gauss-newton", keep=9), SIZES)
    assert (drawn.N, drawn.drawn, drawn.keep) == (1000, True, 9)
    assert scoring_of(replace(CONFIG, method="ridge", steps=4), SIZES).steps == 4
    assert scoring_of(replace(CONFIG, curvature_rows=77), SIZES).N == 77


def test_a_matrix_that_does_not_fit():
    """16 · 50,000² bytes are 40 GB."""
    problem = method.problem_of(CONFIG, SIZES, 20 * GB)
    assert "exact makes a matrix of 50,000 × 50,000, which takes 40.0 GB" in problem.what
    assert "20.0 GB of memory are left" in problem.what
    assert problem.remedy == (
        "--blocks tensor or --curvature-rows 1000 or --method cg or --project 16"
    )
    assert method.problem_of(CONFIG, SIZES, 100 * GB) is None


@pytest.mark.parametrize(
    ("config", "sizes", "available", "remedy"),
    [
        (CONFIG, replace(SIZES, can_draw=False), 20 * GB, "--blocks tensor or --method cg"),
        (replace(CONFIG, blocks="tensor"), SIZES, GB // 4, "--curvature-rows 1000"),
        (CONFIG, SIZES, 10**7, "a machine with more memory"),
    ],
)
def test_only_what_would_fit_is_named(config, sizes, available, remedy):
    assert method.problem_of(config, sizes, available).remedy.startswith(remedy)


def test_what_is_named_fits():
    for available in (GB // 5, GB, 5 * GB, 20 * GB):
        problem = method.problem_of(CONFIG, SIZES, available)
        changes = {
            "--blocks tensor": {"blocks": "tensor"},
            "--curvature-rows 1000": {"curvature_rows": 1000},
            "--method cg": {"method": "cg"},
            "--keep 100": {"keep": 100},
        }
        for option, change in changes.items():
            fits = method.problem_of(replace(CONFIG, **change), SIZES, available) is None
            assert fits == (option in problem.remedy)


def test_scores_that_do_not_fit():
    sizes = replace(SIZES, queries=50_000)
    gradient = replace(CONFIG, method="gradient", blocks="tensor")
    problem = method.problem_of(gradient, sizes, 15 * GB)
    assert problem.what.startswith("the scores of 50,000 queries and 50,000 training examples")
    assert problem.remedy.startswith("--keep 100 or --query-limit ")
    limit = int(problem.remedy.rpartition(" ")[2])
    assert method.problem_of(gradient, replace(sizes, queries=limit), 15 * GB) is None
    assert method.problem_of(gradient, replace(sizes, queries=limit + 1), 15 * GB) is not None
    assert method.problem_of(replace(gradient, keep=100), sizes, 15 * GB) is None


def test_what_would_make_other_stores_is_named_with_another_folder():
    bound = ("project", "curvature_rows")
    assert method.problem_of(CONFIG, SIZES, 20 * GB, bound).remedy == (
        "--blocks tensor or --curvature-rows 1000 in another --out or --method cg or --project 16 "
        "in another --out"
    )
    sizes = replace(SIZES, queries=50_000)
    gradient = replace(CONFIG, method="gradient", blocks="tensor")
    remedy = method.problem_of(gradient, sizes, 15 * GB, ("query_limit",)).remedy
    assert re.fullmatch(r"--keep 100 or --query-limit \d+ in another --out", remedy)


FORMS = (
    Form("--store float32", None, 100, 0, asked=True),
    Form("--store bfloat16", None, 55, 5, asked=False),
    Form("--project 16", 16, 20, 5, asked=False),
)


def disk_problem(free, *, begun=False, kept=2, limit="--train-limit 7", forms=FORMS):
    found = Disk("run", free, 100, 3)
    return disk.problem_of(found, forms, begun=begun, kept=kept, limit=limit)


@pytest.mark.parametrize(
    ("free", "options", "remedy"),
    [
        (60, {}, "--store bfloat16 (55 bytes); or another --out; or --train-limit 7"),
        (25, {}, "--project 16 (20 bytes); or another --out; or --train-limit 7"),
        (25, {"forms": FORMS[:2]}, "another --out; or --train-limit 7"),
        (10, {"limit": None}, "another --out"),
        (
            60,
            {"begun": True},
            "--store bfloat16 (55 bytes) in another --out; or free some space, and the same "
            "command goes on; or --train-limit 7 in another --out",
        ),
        (
            102,
            {},
            "--keep 100, which keeps the ends of each query's order; or another --out; "
            "or --train-limit 7",
        ),
        (101, {}, "another --out; or --train-limit 7"),
        (102, {"kept": None}, "another --out; or --train-limit 7"),
        (
            101,
            {"begun": True},
            "free some space, and the same command goes on; or --train-limit 7 in another --out",
        ),
    ],
)
def test_the_first_form_that_fits_the_disk_is_named(free, options, remedy):
    problem = disk_problem(free, **options)
    assert problem.remedy == remedy
    assert "100 bytes" in problem.what


def test_a_disk_with_room_is_no_problem():
    assert disk_problem(103) is None
    assert disk_problem(102).what.startswith("the scores take 3 bytes beside 100 bytes")
