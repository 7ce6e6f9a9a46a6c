"""What a notebook shows of scores and stores."""

from __future__ import annotations

import builtins

import pytest
import torch

from datainf import GradientStore, Scores, attribute, attribute_top
from datainf.errors import InputError, OptionError

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def scores():
    values = torch.tensor([[3.0, -1, 0.5, -2], [0, 0, 0, 0]])
    return Scores(values, [HOSTILE, "q1"], ["a", "b&b", "c", HOSTILE], "exact", {"damping": "0.1"})


def test_a_frame_has_a_row_a_pair(scores):
    frame = scores.to_pandas()
    assert list(frame.columns) == [
        "query_id", "train_id", "query_row", "train_row", "score", "rank",
    ]  # fmt: skip
    assert frame["train_id"].tolist()[:4] == ["a", "c", "b&b", HOSTILE]
    assert frame["rank"].tolist() == [0, 1, 2, 3] * 2
    assert frame["score"].tolist()[:4] == [3.0, 0.5, -1.0, -2.0]
    first = frame[frame["query_row"] == 0].set_index("train_row")["score"]
    assert [first[row] for row in range(4)] == scores.values[0].tolist()


def test_the_frame_is_the_parquet_table(llama_run, tmp_path):
    import pandas as pd

    store = [GradientStore.open(llama_run / part) for part in ("train", "query")]
    for found in (attribute(*store, "datainf"), attribute_top(*store, "datainf", k=2)):
        found.to_parquet(tmp_path / "scores.parquet")
        table = pd.read_parquet(tmp_path / "scores.parquet")
        frame = found.to_pandas()
        order = ["query_row", "rank"]
        a, b = (one.sort_values(order).reset_index(drop=True) for one in (table, frame))
        assert len(a) == len(b)
        for column in ("query_row", "train_row", "rank"):
            assert a[column].tolist() == b[column].tolist()
            assert frame[column].dtype == "int32"
        for column, own in (("query_id", found.query_ids), ("train_id", found.train_ids)):
            assert set(frame[column]) <= set(own)
            assert a[column].tolist() == list(map(str, b[column]))
        assert a["score"].tolist() == pytest.approx(b["score"].tolist())


def test_html_escapes_what_is_in_the_data(scores):
    for html in (scores._repr_html_(), scores.top(0)._repr_html_()):
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        assert "b&amp;b" in html
    assert "positive = helpful" in scores._repr_html_()
    assert "+3" in scores.top(0)._repr_html_()


def test_an_end_has_its_own_sign_alone():
    ends = Scores(torch.tensor([[2.0, 1.0], [0.0, -1.0]]), ["up", "down"], ["a", "b"], "exact")
    up, down = ends._repr_html_().split("<tr>")[2:]
    assert up.count("</span>") == 2
    assert "<td></td></tr>" in up
    assert down.count("</span>") == 1
    assert "<td></td><td><span" in down
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    assert [bar.get_width() for bar in ends.plot("down").patches] == [-1.0]
    assert len(Scores(torch.zeros(1, 3), ["q"], ["a", "b", "c"], "exact").plot().patches) == 0


def test_top_is_a_list_as_before(scores):
    assert scores.top(0, 1) == [("a", 3.0)]
    assert isinstance(scores.top(0, 1), list)


def test_a_store_tells_its_tensors(llama_run):
    html = GradientStore.open(llama_run / "train")._repr_html_()
    assert "13 examples" in html
    assert "q_proj.lora_A" in html


def test_nothing_at_all_has_a_representation():
    empty = Scores(torch.zeros(0, 0), [], [], "exact")
    assert "0 × 0 scores" in empty._repr_html_()
    frame = empty.to_pandas()
    assert len(frame) == 0
    assert frame["score"].dtype == "float32"


def test_a_figure_shows_both_ends(scores):
    import matplotlib

    matplotlib.use("Agg")
    axes = scores.plot(0, k=2)
    assert [bar.get_width() for bar in axes.patches] == [3.0, 0.5, -1.0, -2.0]
    assert HOSTILE in axes.get_title()
    assert "mean" in scores.plot(None, k=1).get_title()
    with pytest.raises(OptionError):
        scores.plot(9)


def test_names_are_no_formulas():
    import matplotlib

    matplotlib.use("Agg")
    odd = Scores(torch.tensor([[1.0, -1.0]]), ["a$b^$"], ["$x_$", "$$"], "exact")
    axes = odd.plot(0)
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["$x_$", "$$"]


def test_a_figure_of_what_is_kept(llama_run):
    import matplotlib

    matplotlib.use("Agg")
    store = [GradientStore.open(llama_run / part) for part in ("train", "query")]
    assert len(attribute_top(*store, "datainf", k=2).plot().patches) == 4


def test_a_figure_without_matplotlib_says_so(scores, monkeypatch):
    plain = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="needs matplotlib"):
        scores.plot()
