"""The file: one, with its own style and script, and no way for the data to be markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import re

import numpy as np
import pytest
from PIL import Image

from conftest import HOSTILE, attributed
from datainf import Scores, load_scores, words
from datainf.report import page as module
from datainf.report import report, write_report
from datainf.report.contents import Contents
from datainf.report.page import packed, page, served_page
from datainf.report.report import MOST_BYTES
from datainf.report.statistics import histogram
from datainf.report.subject import Subject
from tiny_models import image_processor, tiny_base, tiny_lora


def unpacked(text):
    found = re.findall(r'<script type="text/plain" id="data-([\w-]+)">([^<]*)</script>', text)
    return {name: json.loads(gzip.decompress(base64.b64decode(data))) for name, data in found}


def test_what_is_packed_comes_out_again():
    values = {"a": [1, 2.5, None], "b": HOSTILE}
    assert unpacked(page("title", values.items())) == values


def test_the_data_cannot_be_markup():
    plain = page("title", [("a", "")])
    hostile = page("title", [("a", HOSTILE)])
    tags = re.compile(r"</?[a-z]+")
    assert tags.findall(plain) == tags.findall(hostile)
    assert page("</title><script>", []).count("<script") == plain.count("<script") - 1


def test_lone_surrogates_are_written():
    assert unpacked(page("title", [("a", "half \ud800 pair")])) == {"a": "half ? pair"}


def test_the_policy_is_of_this_script_and_style():
    text = page("title", [])
    for tag, what in (("script", "script-src"), ("style", "style-src")):
        own = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(own) == 1
        digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
        assert f"{what} 'sha256-{digest}'" in text
    assert "connect-src 'none'" in text
    assert "connect-src 'self'" in served_page("title", "token")


def test_it_names_no_other_place(llama_run, tmp_path):
    text = write_report(llama_run, out=tmp_path / "page.html", model=False).read_text()
    own = re.sub(r'<script type="text/plain".*?</script>', "", text, flags=re.DOTALL)
    own = re.sub(r"'sha256-[^']+'", "", own)  # may have two slashes as well
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+", own)) - {"http://www.w3.org"}
    assert not {a for a in addresses if not a.startswith("// ")}


def test_numbers_that_json_has_none_of_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        page("title", [("a", float("nan"))])


def test_texts_are_cut_until_the_file_is_small_enough(llama_run, tmp_path, monkeypatch):
    whole = write_report(llama_run, out=tmp_path / "whole.html", model=False)
    said = []
    monkeypatch.setattr(report, "MOST_BYTES", whole.stat().st_size - 1)
    cut = write_report(llama_run, out=tmp_path / "cut.html", model=False, say=said.append)
    assert cut.stat().st_size < whole.stat().st_size <= MOST_BYTES
    assert re.search(r"texts are cut to \d+ characters", " ".join(said))


def test_reasons_are_of_as_many_queries_as_there_is_room_for(llama_run):
    """By token of the first, by tensor of more, and never more bytes than that."""
    chance = random.Random(0)
    told, read = ([chance.randbytes(50 * (q + 1)).hex() for q in range(7)] for _ in range(2))

    class Few(Contents):
        """What was found for the queries, whatever of it is to be told."""

        knows_tokens = True

        def why(self, query):
            streams = {"streams": read[query]} if query < self.read else {}
            return {"tensors": told[query]} | streams if query < self.told else {}

    def bytes_of(contents):
        return sum(len(packed(why)) for why in map(contents.why, range(7)) if why)

    whole, found = bytes_of(Few(Subject.open(llama_run), 3)), []
    for room in (whole, whole - 1, whole // 2, 200, 0, -100):
        contents, said = Few(Subject.open(llama_run), 3), []
        report._tell_no_more(contents, room, "small", said.append)
        assert bytes_of(contents) <= max(0, room)
        assert bool(said) == (room < whole)
        found.append((contents.told, contents.read))
    assert found[:2] == [(7, 7), (7, 6)]
    assert found[-2:] == [(0, 0), (0, 0)]
    assert found == sorted(found, reverse=True)


def written(run, folder, most, monkeypatch, **options):
    """A page that may have so many bytes: how many it has, what was said, and its parts."""
    said = []
    monkeypatch.setattr(report, "MOST_BYTES", most)
    path = write_report(run, out=folder / "p.html", model=False, say=said.append, **options)
    assert path.stat().st_size == len(path.read_bytes())
    return path.stat().st_size, said, unpacked(path.read_text())


def says_its_size(said, size):
    """Whether the last that is said is how large the page is, and that it is so."""
    found = re.match(r"report\.html has ([\d.]+) kB, ", said[-1]) if said else None
    assert found is None or float(found[1]) * 1000 == pytest.approx(size, rel=0.01)
    return found is not None


def test_what_is_left_out_is_on_the_page_too(llama_run, tmp_path, monkeypatch):
    size, said, parts = written(llama_run, tmp_path, 1, monkeypatch)
    assert [text.partition(" are ")[0] for text in said[:2]] == [
        "texts",
        "parts of scores by tensor",
    ]
    assert dict(parts["overview"]["facts"])["left out"] == "; ".join(said)
    assert says_its_size(said, size)
    assert "below" not in " ".join(said)


@pytest.fixture(scope="module")
def photos_run(tmp_path_factory):
    """Of photos, each 300 pixels a side."""
    folder = tmp_path_factory.mktemp("photos")
    chance = np.random.default_rng(0)
    for i in range(12):
        pixels = chance.integers(0, 255, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    rows = [{"image": str(folder / f"{i}.jpg"), "label": i % 3} for i in range(12)]
    base = tiny_base("vit")
    for part in (base, image_processor()):
        part.save_pretrained(folder / "base")
    saved = type(base).from_pretrained(folder / "base")
    tiny_lora("vit", saved).save_pretrained(folder / "adapter")
    return attributed(folder, folder / "adapter", rows, rows[:3])


def shows(parts):
    """How many pictures a page has, and how many examples of either end a query has at most."""
    queries = parts["queries-0"]
    pictures = sum("image" in one for one in [*queries, *parts["train-0"]])
    return pictures, max(len(one[end]) for one in queries for end in ("helpful", "harmful"))


def test_pictures_and_then_examples_are_left_out_of_a_page(photos_run, tmp_path, monkeypatch):
    """Each page may have fewer bytes than the one before had; it has no more, or says how many it
    has."""
    own = load_scores(photos_run / "scores.safetensors")
    mine = tmp_path / "scores.safetensors"  # without reasons: those would go first
    Scores(own.values, own.query_ids, own.train_ids, "mine").save(mine)
    monkeypatch.setattr("datainf.report.contents.MANY", 1)
    monkeypatch.setattr(report, "NOTES", 400)
    most, size, found = 1_000_000, 0, []
    while size <= most:
        most = size - 1 if found else most
        size, said, parts = written(photos_run, tmp_path, most, monkeypatch, top=8, scored=tmp_path)
        told, (pictures, top) = " ".join(said), shows(parts)
        assert says_its_size(said, size) == (size > most)
        assert size <= most or "below" not in told
        assert ("pictures are left out" in told) == (pictures == 0)
        given = parts["overview"]["top"]
        some = words.count(given, "training example")
        assert (f"no more than {some} of either end" in told) == (given < 8)
        assert top <= given
        named = {row for one in parts["queries-0"] for row, _ in (*one["helpful"], *one["harmful"])}
        named |= {one["row"] for one in parts["overview"]["many"]}
        assert named == {one["row"] for one in parts["train-0"]} == set(parts["overview"]["shown"])
        found.append((pictures > 0, given))
    assert found == sorted(found, reverse=True)
    assert found[0] == (True, 8)
    assert (False, 8) in found
    assert found[-1] == (False, 1)


def test_the_scores_are_counted_once_however_often_texts_are_cut(
    llama_run, tmp_path, monkeypatch
):  # fmt: skip
    counted = []

    def counting(scores):
        counted.append(scores)
        return histogram(scores)

    monkeypatch.setattr("datainf.report.contents.histogram", counting)
    written(llama_run, tmp_path, 1, monkeypatch)
    assert len(counted) == 1


def test_every_script_is_there():
    folder = module.files("datainf.report").joinpath("assets")
    scripts = {
        path.name.removesuffix(".js") for path in folder.iterdir() if path.name.endswith(".js")
    }
    assert scripts == set(module.SCRIPTS)
