"""`datainf verify --repair`: what the run's own command made is made again, and nothing else is
touched."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from conftest import TEXTS, attributed, contents
from datainf.applications.repair import repair
from datainf.applications.verify import verify
from datainf.config import RunConfig, read_config
from datainf.errors import StoreCorruptError, StoreError
from datainf.files import locked
from datainf.provenance import RECORD, recorder
from datainf.report import write_report
from datainf.second_moments import FILE as MOMENTS
from datainf.second_moments import save_moments
from datainf.store import SAMPLE
from datainf.store import index as index_module
from datainf.store.index import Index


@pytest.fixture(scope="module")
def whole(saved_llama, tmp_path_factory):
    """A run of smaller rows, with a sample in full beside them."""
    rows = [{"prompt": text, "completion": text[::-1]} for text in TEXTS]
    run = attributed(
        tmp_path_factory.mktemp("repair"), saved_llama[1], rows, rows[:2], shard_rows=4,
        store="int8",
    )  # fmt: skip
    assert (run / "train" / SAMPLE / "index.json").is_file()
    return run


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


@pytest.mark.parametrize(
    "broken", [["train"], ["train/sample"], ["train", "train/sample", "query"]], ids=str
)
def test_a_sample_goes_aside_with_its_store(run, datainf, broken):
    before = contents(run)
    for store in broken:
        (run / store / "index.json").write_text("{")
    code, out, err = datainf("verify", run, "--repair")
    assert code == 0, out + err
    assert contents(run) == before
    kept = [path.parent / path.name.partition("-damaged-")[0] for path in run.rglob("*-damaged-*")]
    tops = [store for store in broken if store != "train/sample" or "train" not in broken]
    assert sorted(kept) == sorted(run / store for store in tops)
    assert datainf("verify", run)[0] == 0


def test_a_store_that_another_command_made_stays(run, datainf):
    more = shutil.copytree(run / "query", run / "more")
    recorder(more)([more / "index.json"])
    (more / "index.json").write_text("{")
    (run / "train" / "index.json").write_text("{")
    code, out, err = datainf("verify", run, "--repair")
    assert code == 1
    assert "1 fault\n" in out
    assert sorted(path.name.partition("-damaged-")[0] for path in run.glob("*-damaged-*")) == [
        "train"
    ]
    told = " ".join(err.split())
    assert f"{more} is left as it is: the run's own command does not make it" in told
    assert "makes it again after it has been moved away" in told
    assert f"take its line out of {RECORD}" in told
    shutil.rmtree(more)
    assert datainf("verify", run)[0] == 0


def test_a_store_that_is_being_written_to_stays(run, datainf):
    for store in ("train", "query"):
        (run / store / "index.json").write_text("{")
    with locked(run / "query"):
        code, _, err = datainf("verify", run, "--repair")
    assert code == 1
    assert f"another process is writing to {run / 'query'}" in " ".join(err.split())
    assert not list(run.glob("*-damaged-*"))
    assert datainf("verify", run, "--repair")[0] == 0


def test_a_sound_store_stays_where_the_system_refuses_for_a_while(run, monkeypatch):
    """And so do others than those at fault, whatever is the matter with them."""
    (run / "train" / "index.json").write_text("{")
    faults = verify(run).faults
    (run / "query" / "index.json").write_text("{")  # only now
    config = RunConfig.from_values(read_config(run / "run.yaml"), "run.yaml")
    monkeypatch.setattr("datainf.applications.repair.run", lambda *_, **__: config)
    real = index_module.read_file
    monkeypatch.setattr(index_module, "read_file", refusing)
    repair(run, faults, say=print)
    assert not list(run.glob("*-damaged-*"))
    monkeypatch.setattr(index_module, "read_file", real)
    repair(run, faults, say=print)
    assert [path.name[:5] for path in run.glob("*-damaged-*")] == ["train"]


def refusing(_):
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("name", ["EMFILE", "EIO", "ESTALE", "ENOMEM", "EACCES"])
def test_a_passing_refusal_is_no_corruption(run, monkeypatch, name):
    code = getattr(errno, name)

    def refusing(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(index_module, "read_file", refusing)
    with pytest.raises(StoreError, match=os.strerror(code)) as refused:
        Index.load(run / "train")
    assert not isinstance(refused.value, StoreCorruptError)


def test_what_is_no_file_is_corruption(run):
    path = run / "train" / "index.json"
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(StoreCorruptError):
        Index.load(run / "train")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreCorruptError):
        Index.load(run / "train")


def test_a_store_in_a_folder_that_is_not_to_be_written_to(run, datainf, monkeypatch):
    (run / "train" / "index.json").write_text("{")
    monkeypatch.setattr(Path, "rename", forbidden)
    code, _, err = datainf("verify", run, "--repair")
    assert code == 1
    assert f"cannot write {run / 'train-damaged-'}" in err.replace("\n", "")
    assert "Permission denied" in " ".join(err.split())


def forbidden(*_, **__):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_store_that_is_not_to_be_looked_at(run, datainf, monkeypatch):
    """It is as if nothing were listed, and the system refuses to say whether something is there."""
    stat = Path.stat
    shutil.rmtree(run / "query")

    def refusing(path, **options):
        return forbidden() if path.parent == run / "query" else stat(path, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    code, out, err = datainf("verify", run, "--repair")
    assert code == 1
    assert f"{run / 'query' / 'index.json'}: it cannot be read: Permission denied" in out
    assert f"{run / 'query'} cannot be looked at: Permission denied" in " ".join(err.split())


def test_a_curvature_that_the_method_does_not_take_stays(run, datainf):
    code, _, err = datainf("attribute", "--config", run / "run.yaml", "--out", run, "--no-report",
                           "--method", "datainf")  # fmt: skip
    assert code == 0, err
    (run / "curvature" / "index.json").write_text("{")
    (run / "train" / "index.json").write_text("{")
    code, out, err = datainf("verify", run, "--repair")
    assert code == 1
    assert "1 fault\n" in out
    assert (run / "curvature" / "index.json").read_text() == "{"
    assert [path.name[:5] for path in run.glob("*-damaged-*")] == ["train"]
    told = " ".join(err.split())
    assert f"{run / 'curvature'} is left as it is: the run's method, datainf, takes no" in told
    assert "Move it away; datainf attribute with a method that takes one" in told


def test_a_store_of_the_runs_own_that_is_not_made_again_is_said(run, datainf):
    code, _, err = datainf("attribute", "--config", run / "run.yaml", "--out", run, "--no-report",
                           "--method", "gradient")  # fmt: skip
    assert code == 0, err
    index = Index.load(run / "train")
    save_moments(run / "train", {block.name: torch.ones(block.width) for block in index.blocks})
    assert datainf("verify", run)[0] == 0
    moments = run / "train" / MOMENTS
    moments.write_bytes(moments.read_bytes()[:-1] + b"\xff")
    code, _, err = datainf("verify", run, "--repair")
    assert code == 1
    assert f"{run / 'train'} is not made again as long as it is there: move it away" in " ".join(
        err.split()
    )
    shutil.rmtree(run / "train")
    assert datainf("verify", run, "--repair")[0] == 0


def test_what_was_put_aside_is_read_no_more(run, datainf):
    """Nor is its record, which may have come along; a person's folder may have such a name."""
    more = shutil.copytree(run / "train", run / "train-damaged-0123abcd")
    recorder(more)([more / "index.json"])
    (more / "index.json").unlink()
    (more / SAMPLE / "index.json").write_text("{")
    assert datainf("verify", run)[0] == 0
    more.rename(run / "cars-damaged-20240511")
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert f"{run / 'cars-damaged-20240511' / 'index.json'}: it is missing" in out


def test_pages_are_written_again_as_they_were_asked_for(run, datainf, monkeypatch):
    assert datainf("score", run, "--method", "datainf", "--out", run / "other")[0] == 0
    pages = [
        write_report(run, top=2, read=1), write_report(run, scored=run / "other", model=False),
    ]  # fmt: skip
    assert datainf("verify", run)[0] == 0
    before = [page.read_bytes() for page in pages]
    pages[0].unlink()
    pages[1].write_text("another")
    monkeypatch.setattr("datainf.applications.repair.run", lambda *_, **__: pytest.fail("no need"))
    code, out, err = datainf("verify", run, "--repair")
    assert code == 0, out + err
    assert f"{pages[1]} is written again" in err.replace("\n", "")
    assert [page.read_bytes() for page in pages] == before


@pytest.mark.parametrize(
    ("page", "comes_back"),
    [(None, True), ({"top": "x", "read": [], "model": 1}, True), ({"scored": 1}, False),
     ({"scored": "/etc"}, False), ({"scored": "nowhere"}, False)],
)  # fmt: skip
def test_pages_of_absurd_and_of_older_records(run, datainf, page, comes_back):
    told = {"command": None, "files": {"report.html": "0"}} | (
        {} if page is None else {"page": page}
    )
    with (run / RECORD).open("a") as record:
        record.write(json.dumps(told) + "\n")
    code, _, err = datainf("verify", run, "--repair")
    assert code == (0 if comes_back else 1)
    assert (run / "report.html").is_file() == comes_back
    again = "is written again" if comes_back else "is not written again"
    assert f"{run / 'report.html'} {again}" in " ".join(err.split())


@pytest.mark.parametrize("told", [{}, {"page": {"scored": "link"}}], ids=["page", "scores"])
def test_no_page_is_written_again_through_a_link_that_leads_elsewhere(run, datainf, tmp_path, told):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(run / "scores.safetensors", elsewhere)
    (elsewhere / "report.html").write_text("mine")
    (run / "link").symlink_to(elsewhere)
    name = "report.html" if told else "link/report.html"
    with (run / RECORD).open("a") as record:
        record.write(json.dumps({"command": None, "files": {name: "0"}} | told) + "\n")
    code, _, err = datainf("verify", run, "--repair")
    assert code == 1
    what = "its scores lie" if told else "it lies"
    assert f"{run / name} is not written again: {what} elsewhere than in {run}" in " ".join(
        err.split()
    )
    assert (elsewhere / "report.html").read_text() == "mine"
    assert not (run / "report.html").exists()


def test_scores_of_another_command_are_not_replaced(run, datainf, tmp_path):
    before = contents(run)
    recorder(run)([run / "run.yaml", run / "scores.safetensors", run / "top.jsonl"])
    assert datainf("score", run, "--method", "gradient", "--out", run)[0] == 0
    theirs, scores = contents(run), run / "scores.safetensors"
    (run / "top.jsonl").unlink()
    code, _, err = datainf("verify", run, "--repair")
    assert code == 1
    told = " ".join(err.split())
    assert f"{scores} is by `datainf score`, and the run's own command would replace it" in told
    assert contents(run) == theirs
    scores.rename(tmp_path / scores.name)
    assert datainf("verify", run, "--repair")[0] == 0
    assert contents(run) == before


@pytest.mark.parametrize("way", ["absolute", "relative"])
def test_the_runs_own_scores_by_another_path_are_its_own(run, datainf, monkeypatch, way):
    monkeypatch.chdir(run.parent)
    given, scored = ("run", run) if way == "absolute" else (run, "run")
    assert datainf("report", given, "--scores", scored, "--no-model")[0] == 0
    assert json.loads((run / RECORD).read_text().splitlines()[-1])["page"]["scored"] is None
    (run / "report.html").unlink()
    assert datainf("verify", run, "--repair")[0] == 0


def test_a_page_by_the_library_is_noted_as_one_by_the_command(run, datainf):
    assert datainf("report", run, "--no-model")[0] == 0
    write_report(run, top=1, model=False)
    assert datainf("verify", run)[0] == 0
    last = json.loads((run / RECORD).read_text().splitlines()[-1])
    assert last["page"] == {"scored": None, "top": 1, "read": 300, "model": False}


def test_what_a_run_takes_no_more_is_not_due(run, datainf):
    shutil.rmtree(run / "curvature")
    assert "curvature/index.json: it is missing" in datainf("verify", run)[1]
    code, _, err = datainf("attribute", "--config", run / "run.yaml", "--out", run, "--no-report",
                           "--method", "datainf")  # fmt: skip
    assert code == 0, err
    code, out, _ = datainf("verify", run)
    assert code == 0, out
    (run / "top.jsonl").unlink()
    assert "top.jsonl: it is missing" in datainf("verify", run)[1]
