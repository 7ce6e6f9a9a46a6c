"""The file: one, with its own style and script, and no way for the data to be markup."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import re

import pytest

from conftest import HOSTILE
from datainf.report import page as module
from datainf.report import write_report
from datainf.report.contents import Contents
from datainf.report.page import packed, page, served_page
from datainf.report.report import MOST_BYTES
from datainf.report.subject import Subject


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
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+", own)) - {"http://www.w3.org"}
    assert not {a for a in addresses if not a.startswith("// ")}


def test_numbers_that_json_has_none_of_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        page("title", [("a", float("nan"))])


def test_texts_are_cut_until_the_file_is_small_enough(llama_run, tmp_path, monkeypatch):
    import datainf.report.report as report

    whole = write_report(llama_run, out=tmp_path / "whole.html", model=False)
    said = []
    monkeypatch.setattr(report, "MOST_BYTES", whole.stat().st_size - 1)
    cut = write_report(llama_run, out=tmp_path / "cut.html", model=False, say=said.append)
    assert cut.stat().st_size < whole.stat().st_size <= MOST_BYTES
    assert re.search(r"texts are cut to \d+ characters", " ".join(said))


def test_reasons_are_of_as_many_queries_as_there_is_room_for(llama_run):
    """By token of the first, by tensor of more, and never more bytes than that."""
    from datainf.report import report

    chance = random.Random(0)
    told, read = ([chance.randbytes(50 * (q + 1)).hex() for q in range(7)] for _ in range(2))

    class Few(Contents):
        """What was found for the queries, whatever of it is to be told."""

        def why(self, query):
            streams = {"streams": read[query]} if query < self.read else {}
            return {"tensors": told[query]} | streams if query < self.told else {}

    def bytes_of(contents):
        return sum(len(packed(why)) for why in map(contents.why, range(7)) if why)

    whole, found = bytes_of(Few(Subject.open(llama_run), 3)), []
    for room in (whole, whole - 1, whole // 2, 200, 0, -100):
        contents, said = Few(Subject.open(llama_run), 3), []
        report._tell_no_more(contents, room, said.append)
        assert bytes_of(contents) <= max(0, room)
        assert bool(said) == (room < whole)
        found.append((contents.told, contents.read))
    assert found[:2] == [(7, 7), (7, 6)]
    assert found[-2:] == [(0, 0), (0, 0)]
    assert found == sorted(found, reverse=True)


def test_what_is_left_out_is_on_the_page_too(llama_run, tmp_path, monkeypatch):
    import datainf.report.report as report

    said = []
    monkeypatch.setattr(report, "MOST_BYTES", 1)
    path = write_report(llama_run, out=tmp_path / "p.html", model=False, say=said.append)
    facts = dict(unpacked(path.read_text())["overview"]["facts"])
    assert [text.partition(" are ")[0] for text in said] == ["texts", "parts of scores by tensor"]
    assert facts["left out"] == "; ".join(said)


def test_every_script_is_there():
    folder = module.files("datainf.report").joinpath("assets")
    scripts = {
        path.name.removesuffix(".js") for path in folder.iterdir() if path.name.endswith(".js")
    }
    assert scripts == set(module.SCRIPTS)
