"""Nothing is read beside the data, and nothing written beside the output folder, whatever the data
and what lies in that folder say."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import TEXTS, attributed, write_rows
from datainf.applications.select import select
from datainf.applications.selected_files import write_selection
from datainf.data import load
from datainf.data.write import written_name
from datainf.errors import DataError, DatainfError, OptionError, WriteError
from datainf.files import locked, write_atomically
from datainf.provenance import RECORD, recorder
from datainf.report.subject import Subject
from datainf.run_folder import SCORES
from datainf.run_stores import ASKED
from datainf.runs import open_run
from datainf.scores import load_scores

SECRET = b"not for you"
RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLACES = [
    "../../../../../../etc/passwd", "../secret", "../secret.png", "/etc/passwd", "a/../../secret",
    "..", ".", "/", "\x00", "a\x00b", "-rf", "~", "$HOME", "a/b", "..\\secret", "con", "x" * 300,
    "\x1b[2J", "shard-00000.safetensors", "index.json", "manifest.jsonl", ".lock",
]  # fmt: skip
TEXT = st.sampled_from(PLACES) | st.text(min_size=1, max_size=20)


def contents(folder: Path) -> dict[str, bytes | Path]:
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def around(tmp_path):
    """A tree with a secret, in which a folder is for the data and another for what is written."""
    for name in ("tree/secret", "tree/secret.png", "tree/beside/file"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(SECRET)
    (tmp_path / "tree/data").mkdir()
    return tmp_path / "tree"


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "absolute"])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_metadata_name_no_picture_outside(around, name, form):
    Image.new("RGB", (4, 4)).save(around / "secret.png")
    name = str(around / "secret.png") if name == "absolute" else name
    data = around / "data"
    if form == "jsonl":
        write_rows(data / "metadata.jsonl", [{"file_name": name, "label": 0}])
    else:
        (data / "metadata.csv").write_text(f"file_name,label\n{name},0\n")
    with pytest.raises(DataError, match=f"metadata.{form}, line .* lies outside"):
        load(data)


def test_no_other_column_names_the_picture(around):
    Image.new("RGB", (4, 4)).save(around / "data/1.png")
    row = {"file_name": "1.png", "image": str(around / "secret.png"), "label": 0}
    write_rows(around / "data/metadata.jsonl", [row])
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 1: a column image"):
        load(around / "data")


@RELAXED
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=3, max_size=3, unique_by=lambda row: row[0]))
@pytest.mark.parametrize("form", ["table", "images with metadata", "images by class"])
def test_a_selection_stays_in_its_folder(tmp_path_factory, form, named):
    """Whatever ids, labels, texts and names of files are."""
    tree = tmp_path_factory.mktemp("tree")
    data, out = tree / "data", tree / "out"
    data.mkdir()
    (tree / "secret").write_bytes(SECRET)
    try:
        source = made(data, form, named)
        train = load(source, "image-classification" if "images" in form else "classification")
    except (DatainfError, OSError, ValueError):  # no file has such a name, or it is refused
        assert set(contents(tree)) >= {"secret"}
        return
    before = contents(tree)
    chosen = select(torch.arange(len(train)).double(), drop=None, keep=None, above=1.5)
    with suppress(DatainfError):
        write_selection(out, chosen, train, {})
    after = contents(tree)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("out/") for name in after.keys() - before.keys())
    for path in out.rglob("*"):
        if path.is_symlink():
            assert path.resolve().is_relative_to(data)


def made(data: Path, form: str, named: list[tuple[str, str, str]]) -> Path:
    if form == "table":
        rows = [{"id": a, "label": b, "text": c} for a, b, c in named]
        return write_rows(data / "rows.jsonl", rows)
    for place, (_, label, _) in enumerate(named):
        folder = data / label if form == "images by class" else data
        if folder.resolve().is_relative_to(data.resolve()):
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (place, 0, 0)).save(folder / f"{place}.png")
    if form == "images with metadata":
        rows = [
            {"file_name": name if place == 2 else f"{place}.png", "label": label, "text": text}
            for place, (name, label, text) in enumerate(named)
        ]
        write_rows(data / "metadata.jsonl", rows)
    return data


def test_links_in_an_output_folder_are_not_written_through(saved_llama, around):
    """Files of a run that somebody has made links to others."""
    rows = [{"text": text} for text in TEXTS]
    run = attributed(around / "first", saved_llama[1], rows, rows[:2], method="gradient")
    there = contents(run)
    out = around / "second" / "run"
    victims = {}
    for place, name in enumerate([*there, *(f"{name}.tmp" for name in there)]):
        victims[place] = around / "beside" / str(place)
        victims[place].write_bytes(SECRET)
        if Path(name).name in ("index.json", "run.yaml", "scores.safetensors", ".lock"):
            continue  # read first, and refused for what they lead to
        if name.endswith(".safetensors"):
            continue  # a store's folder with shards and no index is refused
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).symlink_to(victims[place])
    attributed(around / "second", saved_llama[1], rows, rows[:2], method="gradient")
    assert all(path.read_bytes() == SECRET for path in victims.values())
    assert (out / "top.jsonl").read_bytes() == there["top.jsonl"]
    assert not any((out / name).is_symlink() for name in there)


def test_a_lock_that_is_a_link_is_refused(around):
    folder = around / "store"
    folder.mkdir()
    (folder / ".lock").symlink_to(around / "secret")
    with pytest.raises(WriteError, match="cannot write"), locked(folder):
        pass
    assert (around / "secret").read_bytes() == SECRET


def test_a_file_that_is_a_link_is_replaced(around):
    path = around / "data" / "file"
    for name in ("file", "file.tmp"):
        (around / "data" / name).symlink_to(around / "secret")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert (around / "secret").read_bytes() == SECRET


def test_a_record_that_is_a_link_brings_in_nothing(around):
    (around / "data" / RECORD).symlink_to(around / "secret")
    (around / "data" / "file").write_bytes(b"new")
    recorder(around / "data")([around / "data" / "file"])
    assert not (around / "data" / RECORD).is_symlink()
    assert SECRET not in (around / "data" / RECORD).read_bytes()
    assert (around / "secret").read_bytes() == SECRET


@pytest.mark.parametrize("source", ["..", ".", "/", "a/..", "owner/..:train"])
def test_a_part_has_a_name_of_its_own(source):
    assert written_name(source) == "data"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x", "s3://me:s3cr3t-word@bucket/x", "simplecache::memory://x"]
)
def test_scores_of_others_lead_to_no_storage(bert_run, tmp_path, url, monkeypatch):
    """Whose keys are the reader's own."""
    scores = load_scores(bert_run / SCORES)
    noted = replace(scores, diagnostics={**scores.diagnostics, ASKED: url})
    noted.save(tmp_path / SCORES)
    monkeypatch.setattr("datainf.run_stores.place", lambda _: pytest.fail("it was gone to"))
    for read in (open_run, Subject.open):
        with pytest.raises(OptionError, match="no file's word is taken") as caught:
            read(bert_run, tmp_path)
        assert "s3cr3t-word" not in str(caught.value)
        with pytest.raises(OptionError, match="of the run's own queries"):
            read(bert_run, None, url)


def test_notes_of_shards_lead_nowhere(saved_llama, around):
    """Notes that other processes leave beside their shards name files of the store alone."""
    rows = [{"text": text} for text in TEXTS]
    run = attributed(around / "first", saved_llama[1], rows, rows[:2], method="gradient")
    store = run / "train"
    shutil.copy(store / "shard-00000.safetensors", around / "beside" / "shard.safetensors")
    told = json.loads((store / "index.json").read_text())
    (shard,) = told["shards"]
    del told["checksum"]
    (store / "index.json").write_text(json.dumps(told | {"shards": []}))
    note = shard | {"file": "../../../beside/shard.safetensors"}
    (store / "shard-00000.json").write_text(json.dumps(note))
    before = contents(around / "beside")
    attributed(around / "first", saved_llama[1], rows, rows[:2], method="gradient")
    assert json.loads((store / "index.json").read_text())["shards"] == [shard]
    assert contents(around / "beside") == before
