"""Commands that take the URL of a store, and those that do not."""

from __future__ import annotations

import pytest

from conftest import TEXTS, write_rows
from datainf import load_scores
from datainf.remote import place

pytest_plugins = ["object_storage"]


@pytest.fixture
def data(tmp_path):
    return write_rows(tmp_path / "data.jsonl", [{"text": text + "!"} for text in TEXTS])


def test_collect_score_and_verify(datainf, saved_llama, data, proxy, bucket, tmp_path):
    given = ("collect", "--adapter", saved_llama[1], "--data", data, "--shard-rows", 2)
    for out in (f"{bucket}/run/train", tmp_path / "train"):
        assert datainf(*given, "--out", out)[0] == 0
    for number, store in enumerate((f"{bucket}/run/train", tmp_path / "train")):
        code, _, err = datainf(
            "score", "--train", store, "--query", store, "--method", "datainf",
            "--out", tmp_path / f"scores-{number}",
        )  # fmt: skip
        assert code == 0, err
    first, second = (load_scores(tmp_path / f"scores-{n}/scores.safetensors") for n in (0, 1))
    assert (first.values == second.values).all()
    code, out, _ = datainf("verify", f"{bucket}/run")
    assert code == 0
    assert "4 files" in out
    broken = place(f"{bucket}/run/train/shard-00001.safetensors")
    broken.write_bytes(broken.read_bytes()[::-1])
    code, out, err = datainf("verify", f"{bucket}/run", "--repair")
    assert code != 0
    assert f"{broken} (rows 2 to 3)" in out.replace("\n", "")
    assert "the command that made it again" in " ".join(err.split())
    assert datainf(*given, "--out", f"{bucket}/run/train")[0] == 0
    assert datainf("verify", f"{bucket}/run")[0] == 0
    assert [path for _, path in proxy.seen if "/./" in path] == []  # to the storage not the same


def test_new_queries_of_a_run_at_a_url(datainf, llama_run, data, memory, tmp_path):
    code, _, err = datainf("collect", llama_run, "--data", data, "--out", f"{memory}/more")
    assert code == 0, err
    code, _, err = datainf(
        "score", llama_run, "--query", f"{memory}/more", "--method", "datainf",
        "--out", tmp_path / "scores",
    )  # fmt: skip
    assert code == 0, err
    shown = ("top", llama_run, "--scores", tmp_path / "scores")
    code, out, err = datainf(*shown, "--query-store", f"{memory}/more")
    assert code == 0, err
    assert TEXTS[1] in out
    code, _, err = datainf(*shown)
    assert code != 0
    assert f"--query-store {memory}/more" in " ".join(err.split())


@pytest.mark.parametrize(
    "command",
    [
        ["attribute", "--adapter", "a", "--train", "t", "--query", "q", "--out", "s3://b/run"],
        ["plan", "--adapter", "a", "--train", "t", "--query", "q", "--out", "s3://b/run"],
        ["score", "--train", "t", "--query", "q", "--out", "s3://b/run"],
        ["score", "s3://b/run", "--out", "scores"],
        ["top", "s3://b/run"],
        ["inspect", "s3://b/run"],
        ["report", "s3://b/run"],
        ["mislabeled", "s3://b/run"],
    ],
    ids=lambda command: command[0],
)
def test_what_takes_no_url_says_what_does(datainf, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = datainf(*command)
    assert code != 0
    assert "b/run: " in err.replace("\n", " ")
    assert "datainf collect --out" in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []
