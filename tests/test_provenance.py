"""Every file says what made it; and the same command makes the same bytes."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import datainf as package
from conftest import TEXTS, write_rows
from datainf import GradientStore, load_scores, provenance
from datainf.errors import WriteError
from datainf.fingerprint import file_digest
from datainf.provenance import PACKAGES, RECORD, versions
from datainf.store.index import Index

ROWS = [{"id": f"r{i}", "prompt": text, "completion": text[::-1]} for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def call():
    """The program in this process, as `conftest.datainf`, for a module."""
    from datainf.cli import main

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["datainf", *map(str, arguments)])
            with pytest.raises(SystemExit) as stopped:
                main()
        assert not stopped.value.code

    return run


def test_a_command_is_noted_with_paths_that_lead_there(monkeypatch, tmp_path):
    """Also where a secret's value is in one; what is not there is none."""
    monkeypatch.setenv("MY_TOKEN", "sesame-open-123")
    out = tmp_path / "sesame-open-123" / "s"
    out.mkdir(parents=True)
    nowhere, token = f"{tmp_path}/sesame-open-123/nope", "--note=sesame-open-123"
    given = ["collect", "--out", str(out), f"--data={out}", nowhere, token, "--out="]
    monkeypatch.setattr(sys, "argv", ["datainf", *given])
    hidden = [f"{tmp_path}/***/nope", "--note=***", "--out="]
    assert provenance.command() == ["datainf", *given[:4], *hidden]


@pytest.fixture(scope="module")
def twice(call, saved_llama, tmp_path_factory):
    """The same commands, in the same folder, twice: what they left the first and second time."""
    folder = tmp_path_factory.mktemp("twice")
    train = write_rows(folder / "train.jsonl", ROWS)
    query = write_rows(folder / "query.jsonl", ROWS[:2])
    found = []
    for place in ("first", "second"):
        out = folder / "run"
        call("attribute", "--adapter", saved_llama[1], "--train", train, "--query", query,
             "--out", out, "--shard-rows", 4, "--seed", 5, "--store", "int8")  # fmt: skip
        call("score", out, "--method", "datainf", "--out", out / "datainf")
        call("score", out, "--keep", 5, "--out", out / "ends")
        call("mislabeled", out, "--out", out / "suspects.csv")
        call("select", out, "--drop", 2, "--out", folder / "clean")
        call("collect", out, "--data", query, "--out", folder / "more")
        left = folder / place
        left.mkdir()
        for name in ("run", "clean", "more"):
            shutil.move(folder / name, left / name)
        found.append(left)
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (RECORD, ".lock")
    }


def test_the_same_command_makes_the_same_bytes(twice):
    first, second = map(files, twice)
    assert list(first) == list(second)
    assert {Path(name).suffix for name in first} >= {
        ".safetensors", ".json", ".jsonl", ".parquet", ".html", ".yaml", ".csv", ".npy",
    }  # fmt: skip
    differ = [name for name, data in first.items() if second[name] != data]
    assert differ == []


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_for_each_command(twice):
    run = twice[0] / "run"
    noted = lines(run / RECORD)
    assert [line["command"][:2] for line in noted] == [
        ["datainf", "attribute"], ["datainf", "attribute"], ["datainf", "mislabeled"],
    ]  # fmt: skip
    for line in noted:
        assert line["versions"] == versions()
        began, ended = (datetime.fromisoformat(line[name]) for name in ("started", "ended"))
        assert began.utcoffset() is not None
        assert began <= ended
        assert line["machine"]["cores"] >= 1
    assert noted[0]["seed"] == 5
    assert set(noted[0]["files"]) == {
        "run.yaml", "scores.safetensors", "scores.parquet", "top.jsonl", "train/index.json",
        "query/index.json", "curvature/index.json",
    }  # fmt: skip
    assert set(noted[1]["files"]) == {"report.html"}
    assert set(noted[2]["files"]) == {"suspects.csv", "review.html"}
    for line in noted:
        for name, digest in line["files"].items():
            assert file_digest(run / name) == digest
    for folder in (run / "datainf", run / "ends", twice[0] / "clean", twice[0] / "more"):
        (line,) = lines(folder / RECORD)
        assert all(file_digest(folder / name) == own for name, own in line["files"].items())


def test_what_is_said_in_the_files(twice):
    run = twice[0] / "run"
    assert set(versions()) >= {"datainf", "python", "torch", "transformers", "peft"}
    assert versions()["torch"] == version("torch")
    assert versions()["datainf"] == package.__version__
    for name in ("train", "query", "curvature"):
        assert Index.load(run / name).notes["made_by"] == versions()
    for folder in (run, run / "ends"):
        made = load_scores(folder / "scores.safetensors").diagnostics["made_by"]
        assert made["versions"] == versions()
        assert made["stores"]["train"] == [GradientStore.open(run / "train").index.checksum]
        assert made["stores"]["query"] == [Index.load(run / "query").checksum]
        about = json.loads(pq.read_schema(folder / "scores.parquet").metadata[b"datainf"])
        assert about["made_by"] == made
    assert "curvature" in made["stores"]
    assert (run / "run.yaml").read_text().startswith(f"# datainf {package.__version__}, python ")
    assert yaml.safe_load((run / "run.yaml").read_text())["seed"] == 5
    page = (run / "report.html").read_text()
    assert f"datainf {package.__version__}" in page
    selection = json.loads((twice[0] / "clean" / "selection.json").read_text())
    assert selection["made_by"] == versions()


def test_a_checksum_stands_for_all_that_an_index_says(twice):
    index = Index.load(twice[0] / "run" / "train")
    checksum = index.checksum
    assert (
        json.loads((twice[0] / "run" / "train" / "index.json").read_text())["checksum"] == checksum
    )
    index.notes["more"] = 1
    assert index.checksum != checksum


def test_packages_are_those_that_are_installed():
    assert set(versions()) <= {"datainf", "python", *PACKAGES}


@pytest.mark.parametrize(
    ("program", "is_ours"),
    [("/bin/datainf", True), ("/lib/datainf/__main__.py", True), ("/lib/pytest/__main__.py", False),
     ("__main__.py", False), ("train.py", False), ("", False)],
)  # fmt: skip
def test_a_command_is_of_ours_alone(monkeypatch, program, is_ours):
    monkeypatch.setattr(sys, "argv", [program, "verify"])
    assert provenance.command() == (["datainf", "verify"] if is_ours else None)


def test_of_a_folder_that_may_only_be_read_what_goes_elsewhere_needs_no_record(
    tmp_path, monkeypatch
):
    def refuse(path, _):
        raise WriteError(f"{path}: read-only")

    monkeypatch.setattr(provenance, "write_atomically", refuse)
    (tmp_path / "run").mkdir()
    for name in ("page.html", "run/page.html"):
        (tmp_path / name).touch()
    note = provenance.recorder(tmp_path / "run")
    note([tmp_path / "page.html"])
    with pytest.raises(WriteError):
        note([tmp_path / "run" / "page.html"])
