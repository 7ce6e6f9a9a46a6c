"""`datainf verify --repair`: what the run's own command made is made again, and nothing else is
touched."""

from __future__ import annotations

import json
import shutil

import pytest

from conftest import TEXTS, attributed
from datainf.files import locked
from datainf.provenance import RECORD, recorder
from datainf.report import write_report
from datainf.store import SAMPLE


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


def stores(run):
    """But for those that were put aside."""
    names = ("*.safetensors", "index.json")
    found = {p.relative_to(run): p.read_bytes() for name in names for p in run.rglob(name)}
    return {path: data for path, data in found.items() if "-damaged-" not in str(path)}


@pytest.mark.parametrize(
    "broken", [["train"], ["train/sample"], ["train", "train/sample", "query"]], ids=str
)
def test_a_sample_goes_aside_with_its_store(run, datainf, broken):
    before = stores(run)
    for store in broken:
        (run / store / "index.json").write_text("{")
    code, out, err = datainf("verify", run, "--repair")
    assert code == 0, out + err
    assert stores(run) == before
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


def test_what_was_put_aside_is_read_no_more(run, datainf):
    """Nor is its record, which may have come along; a person's folder may have such a name."""
    more = shutil.copytree(run / "train", run / "more-damaged-0123abcd")
    recorder(more)([more / "index.json"])
    (more / "index.json").unlink()
    (more / SAMPLE / "index.json").write_text("{")
    assert datainf("verify", run)[0] == 0
    more.rename(run / "more-damaged-cars")
    assert datainf("verify", run)[0] == 1


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
