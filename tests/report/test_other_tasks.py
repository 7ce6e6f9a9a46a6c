"""Pages of sources and targets, several labels, pairs and pictures."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from browser import browser, expect, needs_browser, opened, soon
from conftest import TEXTS, attributed
from datainf.report import write_report
from datainf.report.contents import Contents
from datainf.report.examples import Described, names_of_lists
from datainf.report.readers import Models, answers_of
from datainf.report.subject import Subject
from datainf.viewer.live import LiveContents
from datainf.viewer.server import Server
from tiny_models import PAIRED, SEVERAL, TINY, image_processor, tiny_base, tiny_lora


def saved(name, folder, reader):
    """A tiny base and an adapter on it: the adapter's folder."""
    tiny_base(name).save_pretrained(folder / "base")
    reader.save_pretrained(folder / "base")
    base = getattr(transformers, TINY[name].model).from_pretrained(folder / "base")
    tiny_lora(name, base).save_pretrained(folder / "adapter")
    return folder / "adapter"


@pytest.fixture(scope="module")
def t5_run(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("t5")
    return attributed(folder, saved("t5", folder, tokenizer), PAIRED, PAIRED[:3])


@pytest.fixture(scope="module")
def several_run(tmp_path_factory, tokenizer):
    """Of some examples no class holds."""
    folder = tmp_path_factory.mktemp("several")
    rows = [{"text": f"{TEXTS[i % 6]} {i}", "label": SEVERAL[i % 6]} for i in range(12)]
    return attributed(folder, saved("bert-several", folder, tokenizer), rows, rows[:3])


@pytest.fixture(scope="module")
def pairs_run(tmp_path_factory, saved_llama):
    rows = [
        {"prompt": text, "chosen": f" {TEXTS[-i - 1]}", "rejected": f" {TEXTS[(i + 2) % 6]}"}
        for i, text in enumerate(TEXTS)
    ]
    folder = tmp_path_factory.mktemp("pairs")
    return attributed(folder, saved_llama[1], rows, rows[:4], task="preference")


@pytest.fixture(scope="module")
def pictures_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for i in range(6):
        pixels = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    rows = [{"image": str(folder / f"{i}.png"), "label": i % 3} for i in range(6)]
    return attributed(folder, saved("vit", folder, image_processor()), rows, rows[:3])


def test_a_picture_leads_to_its_file_and_to_no_other(pictures_run, tmp_path, monkeypatch):
    run = Subject.open(pictures_run).run
    train = Described(run.train, run.train_losses, run.describe, 100, 16)
    picture = pictures_run.parent / "1.png"
    assert train.example(1)["href"] == picture.as_uri()
    monkeypatch.chdir(pictures_run.parent)  # where there is a 1.png
    source = (pictures_run.parent / "train.jsonl").as_uri()
    for path in ("1.png", "../pictures/1.png", str(tmp_path / "gone.png")):
        held = {"bytes": picture.read_bytes(), "path": path}
        assert train._href({"image": held}) == source
    assert train._href({"text": "no picture"}) == source


def answers_in(run, rows):
    models = Models(Subject.open(run))
    try:
        return models.at(0), answers_of(models.at(0), models.subject.run.query, rows)
    finally:
        models.close()


def test_tokens_are_counted_of_texts_alone(t5_run, pictures_run):
    for folder, has in ((t5_run, True), (pictures_run, False)):
        facts = dict(Contents(Subject.open(folder), 3).overview()["facts"])
        assert "6 training examples" in facts["trained on"]
        assert ("token" in facts["trained on"]) == has


def test_a_pair_s_margin_is_the_loss_again(pairs_run):
    """−log σ(margin), as the store has it."""
    subject = Subject.open(pairs_run)
    _, answers = answers_in(pairs_run, range(4))
    for row, loss in enumerate(subject.run.query_losses.tolist()):
        text = answers[row].text
        size = float(text.rpartition(" ")[2])
        margin = size if text.startswith("prefers the chosen by ") else -size
        assert text == f"prefers the {'chosen' if margin > 0 else 'rejected'} by {abs(margin):.3g}"
        assert answers[row].agrees == (margin > 0)
        assert loss == pytest.approx(float(torch.tensor(1 + np.exp(-margin)).log()), rel=1e-2)
    assert {answer.agrees for answer in answers.values()} == {True, False}


def test_names_of_several_labels():
    task = {"problem": None, "num_labels": 3, "label2id": {"a": 0, "b": 1, "c": 2}}
    labels = [[0, 2], [], [1.0, 0.0, 1.0], ["b"], 1, [7]]
    truth = {"0, 2": "a, c", "": "none", "1.0, 0.0, 1.0": "a, c", "b": "b"}
    assert names_of_lists(task, labels) == truth
    assert names_of_lists(task | {"problem": "regression"}, labels) == {}
    assert names_of_lists({"name": "preference"}, labels) == {}


def test_several_labels_in_a_line(several_run):
    train = Contents(Subject.open(several_run), 3).train
    heads = [train.head(row) for row in (0, 1, 5)]
    assert heads == ["[0] ab 0", "[0, 2] to be or not 1", "[none] sphinx of black quartz 5"]


def test_no_label_is_one_to_look_for(several_run):
    live = LiveContents(Subject.open(several_run), 3, model=False)
    for label, rows in (("", [5, 11]), ("0, 2", [1, 7]), (None, list(range(12)))):
        found = live.listed({"label": label, "end": "both", "order": "row"})
        assert [entry["row"] for entry in found["entries"]] == rows
    found = live.listed({"text": "label_1, label_2", "end": "both", "order": "row"})
    assert [entry["row"] for entry in found["entries"]] == [3, 9]


@needs_browser
def test_several_labels_and_none_are_filtered_by(several_run, tmp_path):
    """In the file and where it is served."""
    path = write_report(several_run, out=tmp_path / "report.html")
    live = LiveContents(Subject.open(several_run), 3)
    live.load()
    labels = ["none", "0 · LABEL_0", "0, 2 · LABEL_0, LABEL_2", "1 · LABEL_1",
              "1, 2 · LABEL_1, LABEL_2", "2 · LABEL_2"]  # fmt: skip
    with Server(live) as server, browser() as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for address in (path.as_uri(), server.url):
            with opened(chromium, address) as page:
                page.keyboard.press("2")
                rows = page.locator("table.examples tbody tr")
                expect(rows).to_have_count(12)
                choice = page.locator(".toolbar select").last
                assert choice.locator("option").all_inner_texts() == ["all", *labels]
                for label, own in (("none", {5, 11}), (labels[2], {1, 7})):
                    choice.select_option(label=label)

                    def narrowed(label=label, own=own, rows=rows):
                        found = rows.evaluate_all("all => all.map(one => Number(one.dataset.row))")
                        assert set(found) == own
                        given = rows.locator(".label:first-child .value").all_inner_texts()
                        assert given == [label.rpartition(" · ")[2]] * 2

                    soon(page, narrowed)
                choice.select_option(label="all")
                expect(rows).to_have_count(12)
        server.shutdown()


@needs_browser
def test_queries_are_listed_with_their_pictures(pictures_run, t5_run, tmp_path):
    """In the file and where it is served; in a row of its own height."""
    path = write_report(pictures_run, out=tmp_path / "report.html")
    texts = write_report(t5_run, out=tmp_path / "texts.html")
    live = LiveContents(Subject.open(pictures_run), 3)
    live.load()
    with Server(live) as server, browser() as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for address in (path.as_uri(), server.url):
            with opened(chromium, address) as page:
                listed = page.locator(".query-row .query-picture")
                expect(listed).to_have_count(3)
                for row in range(3):
                    expect(listed.nth(row)).to_be_visible()
                    page.locator(".query-row").nth(row).click()
                    expect(page.locator(".query .place code")).to_have_text(str(row))
                    shown = page.locator(".query .picture").get_attribute("src")
                    assert listed.nth(row).get_attribute("src") == shown
                assert all(picture.bounding_box()["height"] <= 64 for picture in listed.all())
        with opened(chromium, texts.as_uri()) as page:
            expect(page.locator(".query-row")).to_have_count(3)
            expect(page.locator(".query-picture")).to_have_count(0)
        server.shutdown()


@needs_browser
def test_which_of_a_pair_is_preferred_is_shown(pairs_run, tmp_path):
    path = write_report(pairs_run, out=tmp_path / "report.html")
    _, answers = answers_in(pairs_run, range(4))
    with browser() as chromium, opened(chromium, path.as_uri()) as page:
        for row in range(4):
            said = page.locator(".query .label")
            expect(said).to_have_text(f"model {answers[row].text}")
            kind = "right" if answers[row].agrees else "wrong"
            expect(page.locator(f".query .label.{kind}")).to_have_count(1)
            page.keyboard.press("j")
        wrong = sum(not answer.agrees for answer in answers.values())
        expect(page.locator(".query-row .label.wrong")).to_have_count(wrong)
        expect(page.locator(".card .label").first).to_contain_text("model prefers")


@needs_browser
def test_what_a_model_would_go_on_with_is_marked(t5_run, tmp_path):
    path = write_report(t5_run, out=tmp_path / "report.html")
    _, answers = answers_in(t5_run, range(3))
    assert any(answer.limit for answer in answers.values())
    with browser() as chromium, opened(chromium, path.as_uri()) as page:
        for row in range(3):
            expect(page.locator(".query .place code")).to_have_text(str(row))
            cut = page.locator(".answer .cut")
            expect(cut).to_have_count(int(answers[row].limit is not None))
            if answers[row].limit is not None:
                asked = f"cut here: no more than {answers[row].limit} tokens were asked for"
                expect(cut).to_have_attribute("title", asked)
            page.keyboard.press("j")
        page.keyboard.press("3")
        layers = page.locator(".two").first.locator("> div").first.locator(".bar-name")

        def told_apart():
            assert layers.all_inner_texts() == ["encoder 0", "encoder 1", "decoder 0", "decoder 1"]

        soon(page, told_apart)
