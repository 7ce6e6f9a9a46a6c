"""`datainf verify`: a damaged byte is found and named, and a run repaired to the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil

import datasets
import pytest

from conftest import TEXTS, attributed, contents, write_rows
from datainf.applications.selected_files import files_of
from datainf.applications.verify import BY_RECORD
from datainf.provenance import recorder
from datainf.report import write_report


@pytest.fixture(scope="module")
def whole(saved_llama, tmp_path_factory):
    """A run of several shards, with a page."""
    rows = [{"prompt": text, "completion": text[::-1]} for text in TEXTS * 2]
    run = attributed(
        tmp_path_factory.mktemp("verify"), saved_llama[1], rows, rows[:2], shard_rows=2
    )
    write_report(run, top=3, model=False)
    return run


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def test_a_run_as_it_was_written(run, datainf):
    code, out, _ = datainf("verify", run)
    assert code == 0
    assert f"{len([*contents(run), *BY_RECORD])} files" in out
    assert "all as they were written" in out


def test_any_flipped_byte_is_found_and_named(run, datainf):
    chance = random.Random(0)
    for name, data in contents(run).items():
        for _ in range(4):
            place, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
            damaged = bytearray(data)
            damaged[place] ^= bit
            (run / name).write_bytes(damaged)
            code, out, _ = datainf("verify", run)
            assert code == 1, f"byte {place} of {name}"
            assert out.replace("\n", "").count(str(run / name)) == 1, out
        (run / name).write_bytes(data)
    assert datainf("verify", run)[0] == 0


def test_a_run_is_repaired_to_the_same_bytes(run, datainf):
    before = contents(run)
    files = sorted((run / "train").glob("*.safetensors"))
    then = {path: path.stat().st_mtime_ns for path in files}
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 4
    files[1].write_bytes(data)
    files[3].unlink()
    (run / "scores.safetensors").write_bytes(b"nothing")
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert f"{files[1]} (rows 2 to 3): the bytes are not the ones that were written" in out
    assert f"{files[3]} (rows 6 to 7)" in out
    assert "3 faults" in out
    code, out, _ = datainf("verify", run, "--repair")
    assert code == 0
    assert "all as they were written" in out
    assert contents(run) == before
    changed = [p for p, time in then.items() if p.stat().st_mtime_ns != time]
    assert changed == [files[1], files[3]]


@pytest.mark.parametrize(
    "lost", ["train", "curvature", "train/index.json", "scores.safetensors", *BY_RECORD]
)
def test_what_is_missing_is_said_and_made_again(run, datainf, lost):
    before = contents(run) | by_record(run)
    if (run / lost).is_dir():
        shutil.rmtree(run / lost)
    else:
        (run / lost).unlink()
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert str(run / lost) in out
    assert "it is missing; a program of your own had written it" in out
    assert datainf("verify", run, "--repair")[0] == 0
    assert contents(run) | by_record(run) == before


def by_record(run):
    return {name: (run / name).read_bytes() for name in BY_RECORD}


@pytest.mark.parametrize("name", BY_RECORD)
def test_a_table_or_page_that_is_another_is_said(run, datainf, name):
    before = by_record(run)
    (run / name).write_bytes(before[name][:-1] + b"\x00")
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert f"{run / name}: it is not what a program of your own had written" in out
    assert datainf("verify", run, "--repair")[0] == 0
    assert by_record(run) == before


def test_a_store_without_a_readable_index_is_made_anew_beside_the_rest(run, datainf):
    before = contents(run)
    shard = next((run / "train").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    (run / "query" / "index.json").write_text("{")
    code, out, _ = datainf("verify", run, "--repair")
    assert code == 0, out
    (aside,) = run.glob("query-damaged-*")
    assert contents(run) == before
    assert sorted(p.name for p in aside.glob("*.safetensors")) == sorted(
        p.name for p in (run / "query").glob("*.safetensors")
    )


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"command": 1, "files": {}}',
                                  '{"command": null, "files": [1]}',
                                  '{"command": null, "files": [[1, 2]]}',
                                  '{"command": null, "files": {"top.jsonl": 1}}',
                                  '{"command": null, "files": {}, "page": 1}',
                                  '{"command": ["datainf"], "files": {}}',
                                  '{"command": {"1": 2}, "files": {}}'])  # fmt: skip
def test_a_record_that_cannot_be_read(run, datainf, line):
    (run / "provenance.jsonl").write_text(line + "\n")
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert f"{run / 'provenance.jsonl'}: line 1 cannot be read" in out


def test_a_record_of_a_file_that_can_have_no_such_name(run, datainf):
    folders = ["x" * 300, "a\x00", "\ud83d"]
    names = [f"{folder}/{name}" for folder in folders for name in ("top.jsonl", "report.html")]
    told = {"command": ["datainf", "score"], "files": dict.fromkeys([*names, "/report.html"], "0")}
    with (run / "provenance.jsonl").open("a") as record:
        record.write(json.dumps(told) + "\n")
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert "xxx/top.jsonl: it cannot be read: File name too long" in out
    assert "6 faults" in out
    code, out, err = datainf("verify", run, "--repair")
    assert code == 1
    assert "6 faults" in out
    told = "".join(err.split())
    assert told.count("/top.jsonlisleftasitis") == told.count("/report.htmlisnotwritten") == 3


@pytest.mark.parametrize(
    "name", ["provenance.jsonl", "train/index.json", "scores.safetensors", "top.jsonl"]
)
def test_a_folder_in_the_place_of_a_file(run, datainf, name):
    (run / name).unlink()
    (run / name).mkdir()
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert len([line for line in out.splitlines() if line.startswith(f"{run / name}: ")]) == 1
    assert "1 fault" in out


def test_a_record_leads_nowhere_else(run, datainf, tmp_path):
    (tmp_path / "top.jsonl").write_text("a secret")
    names = ["../top.jsonl", str(tmp_path / "nope" / "top.jsonl"), "s3://bucket/top.jsonl"]
    told = {"command": ["datainf", "score"], "files": dict.fromkeys(names, "0")}
    with (run / "provenance.jsonl").open("a") as record:
        record.write(json.dumps(told) + "\n")
    assert datainf("verify", run)[0] == 0


def test_the_same_command_says_what_it_makes_again(run, datainf):
    before = contents(run)
    files = sorted((run / "train").glob("*.safetensors"))
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 4
    files[1].write_bytes(data)
    files[3].unlink()
    code, _, err = datainf("attribute", "--config", run / "run.yaml", "--out", run, "--no-report")
    assert code == 0, err
    told = " ".join(err.split())
    assert f"note: {files[1]}: the bytes are not the ones that were written (the checksum" in told
    assert f"differs), rows 2 to 3; {files[3]} is missing, rows 6 to 7. Their gradients" in told
    assert told.count("are taken again") == 1
    assert contents(run) == before


def test_what_has_not_finished_is_said(run, datainf):
    from datainf.store import Index

    index = Index.load(run / "train")
    index.shards = index.shards[:1]
    index.save(run / "train")
    code, out, _ = datainf("verify", run / "train")
    assert code == 1
    assert "the collection has not finished" in out
    code, _, err = datainf("verify", run / "train", "--repair")
    assert code == 1
    assert "does not say how it was made" in " ".join(err.split())
    assert "try: the command that made it again" in " ".join(err.split())
    assert "collect again" not in err


def test_finished_shards_in_no_index_are_not_missing(run, datainf):
    """As a killed torchrun leaves them; they are read as well."""
    from datainf.store import Index
    from datainf.store.writer import NOTE

    index = Index.load(run / "train")
    noted, index.shards = index.shards[2:], []
    for shard in noted:
        (run / "train" / shard.file).with_suffix(NOTE).write_text(json.dumps(shard.plain()))
    index.save(run / "train")
    code, out, _ = datainf("verify", run / "train")
    assert code == 1
    assert "the collection has not finished: 4 gradients of 12 are missing; 8 gradients in" in out
    assert "are not in index.json yet, and the same command enters them" in out
    assert "1 fault" in out
    (run / "train" / noted[0].file).write_bytes(b"nothing")
    assert f"{run / 'train' / noted[0].file} (rows 4 to 5)" in datainf("verify", run / "train")[1]


def test_a_selection_is_read_against_its_record(run, datainf, tmp_path):
    out = tmp_path / "cleaned"
    assert datainf("select", run, "--drop", "10%", "--out", out)[0] == 0
    code, told, _ = datainf("verify", out)
    assert code == 0
    assert "5 files" in told
    (out / "train.jsonl").write_text("garbage")
    (out / "kept.json").unlink()
    code, told, _ = datainf("verify", out)
    assert code == 1
    assert f"{out / 'train.jsonl'}: it is not what `datainf select` had written" in told
    assert f"{out / 'kept.json'}: it is missing; `datainf select` had written it" in told


def test_a_selection_in_a_folder_is_read_file_by_file(saved_llama, datainf, tmp_path):
    rows = [{"prompt": text, "completion": text[::-1]} for text in TEXTS]
    source = tmp_path / "source"
    datasets.Dataset.from_list(rows).save_to_disk(source)
    query, run, out = write_rows(tmp_path / "query.jsonl", rows[:2]), tmp_path / "r", tmp_path / "o"
    code, _, err = datainf("attribute", "--adapter", saved_llama[1], "--train", source, "--query",
                           query, "--method", "gradient", "--no-report", "--out", run)  # fmt: skip
    assert code == 0, err
    assert datainf("select", run, "--drop", "10%", "--out", out)[0] == 0
    assert datainf("verify", out)[0] == 0
    (arrow,) = (out / "source").glob("*.arrow")
    arrow.write_bytes(b"garbage")
    (out / "source" / "state.json").unlink()
    code, told, _ = datainf("verify", out)
    assert code == 1
    assert f"{arrow}: it is not what `datainf select` had written" in told
    assert f"{out / 'source' / 'state.json'}: it is missing; `datainf select` had" in told


def test_a_name_that_is_not_in_utf_8_is_found_again(tmp_path, datainf):
    path = tmp_path / os.fsdecode(b"tr\xffin") / "top.jsonl"
    path.parent.mkdir()
    path.write_text("{}")
    recorder(tmp_path)([path])
    code, out, _ = datainf("verify", tmp_path)
    assert code == 0, out
    path.write_text("another")
    code, out, _ = datainf("verify", tmp_path)
    assert code == 1
    assert "it is not what a program of your own had written" in out


def test_of_selected_pictures_the_links_are_not_of_the_selection(tmp_path):
    (tmp_path / "original.png").write_bytes(b"a picture")
    data = tmp_path / "data"
    (data / "cars").mkdir(parents=True)
    (data / "cars" / "a.png").symlink_to(tmp_path / "original.png")
    (data / "metadata.jsonl").write_text("{}")
    assert files_of(data) == [data / "metadata.jsonl"]


def test_lists_of_suspects_are_a_persons_to_change(run, datainf, tmp_path):
    suspects = run / "suspects.csv"
    assert datainf("mislabeled", run, "--out", suspects, "--no-model")[0] == 0
    suspects.write_text("mine")
    assert datainf("verify", run)[0] == 0
    (tmp_path / "lists").mkdir()
    shutil.move(suspects, tmp_path / "lists")
    shutil.copy(run / "provenance.jsonl", tmp_path / "lists")
    record = tmp_path / "lists" / "provenance.jsonl"
    record.write_text(record.read_text().splitlines()[-1])
    code, _, err = datainf("verify", tmp_path / "lists")
    assert code == 1, "nothing was read"
    assert "holds no gradient store and no scores" in " ".join(err.split())


@pytest.mark.parametrize("name", ["train", "more"])
def test_stores_behind_links_are_read(run, datainf, tmp_path, name):
    """Where a run has its own, though no record says so, and where a record says that one is."""
    if name == "more":
        shutil.copytree(run / "train", run / "more")
        recorder(run)([run / "more" / "index.json"])
    else:
        (run / "provenance.jsonl").unlink()
    shutil.move(run / name, tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")
    assert datainf("verify", run)[0] == 0
    shard = next((run / name).glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    code, out, _ = datainf("verify", run)
    assert code == 1
    assert f"{shard} (rows" in out


def test_nothing_to_verify(tmp_path, datainf):
    write_rows(tmp_path / "a.jsonl", [{"text": "a"}])
    code, _, err = datainf("verify", tmp_path)
    assert code == 1
    assert "holds no gradient store and no scores" in " ".join(err.split())
    code, _, err = datainf("verify", tmp_path / "a.jsonl")
    assert code == 1
    assert "a.jsonl is a file, and not the folder of a run" in " ".join(err.split())
    assert "did you mean" not in err
    code, _, err = datainf("verify", tmp_path / "nope")
    assert code == 1
    assert f"there is no folder {tmp_path / 'nope'}" in "".join(err.splitlines())
