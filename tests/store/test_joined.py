"""Several stores as one."""

from __future__ import annotations

import pytest
import torch

from conftest import TEXTS, make_model
from datainf import attribute, attribute_top, collect, tasks
from datainf.errors import StoreMismatchError
from datainf.evaluation import check_compression
from datainf.store import joined

ROWS = [{"prompt": text, "completion": text[::-1]} for text in TEXTS]
NAMED = [row | {"id": f"r{place}"} for place, row in enumerate(ROWS)]
QUERIES = [{"text": text} for text in TEXTS[2:4]]


@pytest.fixture(scope="module")
def made(tokenizer, tmp_path_factory):
    """store(rows, …) collects under one model."""
    model, task = make_model("llama"), tasks.CausalLM(tokenizer)
    count = iter(range(1000))

    def store(rows, own_model=model, own_task=task, **options):
        out = tmp_path_factory.mktemp("joined") / str(next(count))
        return collect(own_model, rows, own_task, out=out, **options)

    return store


@pytest.mark.parametrize("rows", [ROWS, NAMED], ids=["counted", "named"])
def test_it_is_as_one_store(made, rows):
    whole = made(rows, shard_rows=4)
    one = joined([made(rows[:3], shard_rows=2), made(rows[3:4]), made(rows[4:])])
    assert one.ids == whole.ids
    assert len(one) == 6
    torch.testing.assert_close(one.losses, whole.losses)
    for name, G in whole.blocks.items():
        torch.testing.assert_close(one.blocks[name].to_dense(), G.to_dense())
        torch.testing.assert_close(one.blocks[name].sq_norms, G.sq_norms)
    loss, gradient = one.example(4)
    assert float(loss) == float(whole.losses[4])
    some = one.pick([whole.ids[place] for place in (1, 4)])
    assert some.ids == [whole.ids[1], whole.ids[4]]
    torch.testing.assert_close(some.losses, whole.losses[[1, 4]])
    assert gradient.keys() == whole.blocks.keys()


@pytest.mark.parametrize("method", ["ridge", "datainf", "exact", "cg"])
def test_they_score_as_one(made, method):
    whole, parts = made(NAMED), [made(NAMED[:2]), made(NAMED[2:])]
    query, queries = made(QUERIES), [made(QUERIES[:1]), made(QUERIES[1:])]
    truth = attribute(whole, query, method)
    found = attribute(parts, query, method)
    assert found.train_ids == truth.train_ids
    close = 1e-3 if method == "cg" else 1e-5  # cg ends at a residual
    near = {"rtol": close, "atol": close * truth.values.abs().max()}
    torch.testing.assert_close(found.values, truth.values, **near)
    by_path = attribute([part.path for part in parts], queries, method).values
    torch.testing.assert_close(by_path, truth.values, **near)
    top = attribute_top(parts, query, method, k=2)
    torch.testing.assert_close(top.helpful.scores, truth.values.topk(2).values, **near)


def test_checkpoints_of_several_stores_each(made):
    """Those of the same weights are one, those of others another checkpoint."""
    other = make_model("llama", seed=2)
    one, two = made(NAMED), made(NAMED, other)
    truth = attribute([one, two], [made(QUERIES), made(QUERIES, other)], "datainf",
                      weights=[1, 3])  # fmt: skip
    found = attribute([made(NAMED[:4]), made(NAMED[:4], other), made(NAMED[4:]),
                       made(NAMED[4:], other)], [made(QUERIES), made(QUERIES, other)], "datainf",
                      weights=[1, 3])  # fmt: skip
    torch.testing.assert_close(found.values, truth.values)


def test_the_same_examples_are_no_other_part(made):
    """A store that is given twice stands for two checkpoints, and not for twice the examples."""
    one, query = made(ROWS), made(QUERIES)
    values = attribute([one, one], [query, query], "datainf").values
    torch.testing.assert_close(values, attribute(one, query, "datainf").values)


def test_smaller_rows(made):
    parts = [made(NAMED[:4], dtype="int8"), made(NAMED[4:], dtype="int8")]
    values = attribute(parts, made(QUERIES), "datainf").values
    truth = attribute(made(NAMED, dtype="int8"), made(QUERIES), "datainf").values
    torch.testing.assert_close(values, truth)
    (found,) = check_compression(parts, made(QUERIES), "datainf")
    assert found.examples == 4


def test_what_cannot_be_one(made, tokenizer):
    with pytest.raises(StoreMismatchError, match="both have an example with the id 'r1'"):
        joined([made(NAMED[:3]), made(NAMED[1:])])
    with pytest.raises(StoreMismatchError, match="both have an example with the id '7'"):
        joined([made([NAMED[0] | {"id": 7}]), made([NAMED[1] | {"id": "7"}])])
    with pytest.raises(StoreMismatchError, match="come from different weights"):
        joined([made(NAMED[:3]), made(NAMED[3:], make_model("llama", seed=3))])
    with pytest.raises(StoreMismatchError, match="they are of other dtypes"):
        joined([made(NAMED[:3]), made(NAMED[3:], dtype="bfloat16", sample=False)])
    short = tasks.CausalLM(tokenizer, max_length=80)
    with pytest.raises(StoreMismatchError, match="they are of other tasks"):
        joined([made(NAMED[:3]), made(NAMED[3:], own_task=short)])


def test_the_command(made, datainf, tmp_path):
    parts, query = [made(NAMED[:2]), made(NAMED[2:])], made(QUERIES)
    trains = [argument for store in parts for argument in ("--train", store.path)]
    code, _, err = datainf("score", *trains, "--query", query.path, "--out", tmp_path / "scores")
    assert code == 0, err
    assert "2 queries, 6 training examples" in err
