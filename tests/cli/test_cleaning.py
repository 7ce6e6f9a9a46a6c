"""mislabeled, the review page, and select: from a run to a cleaned data set."""

from __future__ import annotations

import csv
import json
import re

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from browser import browser, expect, needs_browser, opened
from conftest import TEXTS, write_rows
from datainf.cli.select import _require_classes
from datainf.config import RunConfig
from datainf.data import load
from datainf.errors import OptionError
from datainf.runs import run

NOTES = ["plain", 'with "quotes", commas', "two\nlines", "naïve – 日本 🎈", "tab\there", "null"]
FORMS = ["jsonl", "json", "csv", "tsv", "parquet", "saved"]


def rows():
    return [
        {"id": f"r{i}", "sentence": text, "label": i % 2, "note": NOTES[i % 6], "extra": str(i)}
        for i, text in enumerate(TEXTS * 2)
    ]


def write_form(folder, form):
    """The rows as a file of a form; a .tsv holds no tab and no line break."""
    own = rows()
    path = folder / f"train.{form}"
    if form == "jsonl":
        return write_rows(path, own)
    if form == "json":
        path.write_text(json.dumps({"version": 3, "rows": own}, ensure_ascii=False))
    elif form in ("csv", "tsv"):
        quoting = csv.QUOTE_MINIMAL if form == "csv" else csv.QUOTE_NONE
        if form == "tsv":
            own = [row | {"note": row["note"].replace("\n", " ").replace("\t", " ")} for row in own]
        with path.open("w", encoding="utf-8", newline="") as file:
            quote = None if form == "tsv" else '"'
            delimiter = "\t" if form == "tsv" else ","
            writer = csv.DictWriter(
                file, own[0], delimiter=delimiter, quoting=quoting, quotechar=quote
            )
            writer.writeheader()
            writer.writerows(own)
    else:
        features = datasets.Features({
            "id": datasets.Value("string"), "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]), "note": datasets.Value("string"),
            "extra": datasets.Value("string"),
        })  # fmt: skip
        data = datasets.Dataset.from_list(own, features=features)
        path = folder / "train" if form == "saved" else path
        (data.save_to_disk if form == "saved" else data.to_parquet)(str(path))
    return path


def read_form(path, form):
    if form == "jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if form == "json":
        value = json.loads(path.read_text(encoding="utf-8"))
        assert value["version"] == 3, "what else stands in the file stays"
        return value["rows"]
    if form in ("csv", "tsv"):
        with path.open(encoding="utf-8", newline="") as file:
            quoting = csv.QUOTE_MINIMAL if form == "csv" else csv.QUOTE_NONE
            return list(
                csv.DictReader(file, delimiter="," if form == "csv" else "\t", quoting=quoting)
            )
    if form == "parquet":
        return pq.read_table(path).to_pylist()
    data = datasets.load_from_disk(str(path))
    assert data.features["label"].names == ["bad", "good"]
    return list(data)


def attributed(folder, form, adapter):
    source = write_form(folder, form)
    query = write_rows(folder / "query.jsonl", rows()[:3])
    run(RunConfig(train=str(source), query=str(query), out=str(folder / "run"), method="datainf",
                  adapter=str(adapter), seed=1))  # fmt: skip
    return folder / "run", source


@pytest.fixture(scope="module")
def made(saved_bert, tmp_path_factory):
    return attributed(tmp_path_factory.mktemp("cleaning"), "jsonl", saved_bert[1])


@pytest.mark.parametrize("form", FORMS)
def test_a_round_trip_in_every_form(form, saved_bert, datainf, tmp_path):
    folder, source = attributed(tmp_path, form, saved_bert[1])
    before = read_form(source, form)
    out = tmp_path / "clean"
    code, printed, _ = datainf("select", folder, "--drop", "25%", "--by", "loss", "--out", out)
    assert code == 0
    assert printed.strip() == str(out / source.name)
    kept = json.loads((out / "kept.json").read_text())
    assert len(kept) == 9
    assert read_form(out / source.name, form) == [before[row] for row in kept]
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert sorted([*kept, *(line["row"] for line in manifest)]) == list(range(12))
    assert {line["what"] for line in manifest} == {"dropped"}
    assert all(line["id"] == f"r{line['row']}" and "by loss" in line["why"] for line in manifest)
    weights = np.load(out / "weights.npy")
    assert weights.shape == (12,)
    assert [row for row in range(12) if weights[row] > 0] == kept
    settings = json.loads((out / "selection.json").read_text())
    assert (settings["kept"], settings["dropped"], settings["by"]) == (9, 3, "loss")


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_written_as_labels_are_there(form, saved_bert, datainf, tmp_path):
    folder, source = attributed(tmp_path, form, saved_bert[1])
    before = read_form(source, form)
    digest = load(str(source), "classification").digest
    decisions = tmp_path / "decisions.json"
    decisions.write_text(json.dumps({"digest": digest, "decisions": [
        {"row": 1, "decision": "relabel", "label": "0"}, {"row": 4, "decision": "drop"},
        {"row": 5, "decision": "keep"}]}))  # fmt: skip
    out = tmp_path / "clean"
    code, *_ = datainf("select", folder, "--decisions", decisions, "--out", out)
    assert code == 0
    label = "0" if form in ("csv", "tsv") else 0
    truth = [row | ({"label": label} if i == 1 else {}) for i, row in enumerate(before) if i != 4]
    assert read_form(out / source.name, form) == truth
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["what"] for line in manifest] == ["dropped", "relabelled"]
    assert (manifest[1]["from"], manifest[1]["to"]) == ("1", "0")


def test_suspects_are_printed_and_written(made, datainf, tmp_path):
    folder, _ = made
    code, out, err = datainf("mislabeled", folder, "-k", 4, "--out", tmp_path / "all.csv")
    assert code == 0
    assert "the 4 most suspect" in out
    for word in ("suspicion", "influence", "self-influence", "loss", "neighbours", "model says"):
        assert word in " ".join(out.split())
    with (tmp_path / "all.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 12
    assert table[0]["train_id"] in out
    assert (folder / "review.html").is_file()
    assert "review.html" in err
    _, out, err = datainf("mislabeled", folder, "--no-review")
    assert "model says" not in " ".join(out.split())
    assert "review.html" not in err


@pytest.mark.parametrize(("arguments", "what"), [
    (["--drop", "lots"], "cannot read the amount"),
    (["--drop", "100%"], "nothing would stay"),
    ([], "nothing to select by"),
    (["--drop", "1", "--keep", "1"], "one of the two"),
    (["--decisions", "no-such-file"], "cannot read no-such-file"),
    (["--drop", "1", "--similarity", "0.9"], "is of --diverse"),
    (["--above", "0.9", "--balance"], "is of how many"),
    (["--above", "nan"], "not a number"),
    (["--drop", "150%"], "0% to 100%"),
])  # fmt: skip
def test_nonsense_is_refused(made, datainf, tmp_path, arguments, what):
    code, _, err = datainf("select", made[0], *arguments, "--out", tmp_path / "clean")
    assert code == 1
    assert what in " ".join(err.split())
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize(("content", "what"), [
    ("", "holds no decisions"), ("[]", "no list of decisions"), ("{}", "no list of decisions"),
    ('{"digest": "x", "decisions": []}', "of other data than"),
    ('{"digest": 1}', "no list of decisions"),
    ('{"digest": DIGEST, "decisions": []}', "holds no decision"),
    ('{"digest": DIGEST, "decisions": [3]}', 'decision 1: {"row": 3} is no decision'),
    ('{"digest": DIGEST, "decisions": [{"row": 99}]}', "there is no row 99"),
    ('{"digest": DIGEST, "decisions": [{"row": true, "decision": "drop"}]}', "true, \"decision\""),
    ('{"digest": DIGEST, "decisions": [{"row": 1, "decision": "burn"}]}', "is no decision"),
    ('{"decisions": [{"row": 1, "decision": "drop"}]}', "does not say of which data it is"),
    ('{"digest": DIGEST, "decisions": [{"row": 1, "decision": "relabel"}]}', "no label for row 1"),
    ('{"digest": DIGEST, "decisions": [{"row": 1, "decision": "relabel", "label": "good"}]}',
     "'good' is none of the data's"),
    ('{"digest": DIGEST, "decisions": 5}', "no list of decisions"),
    ('{"digest": DIGEST, "decisions": {"row": 1}}', "no list of decisions"),
    ('{"digest": DIGEST, "decisions": [{"row": 1, "decision": "drop", "id": "r2"}]}',
     "row 1 has the id"),
    ('{"digest": DIGEST, "decisions": [{"row": 1, "decision": "drop"},'
     ' {"row": 1, "decision": "keep"}]}', "there is another for row 1"),
])  # fmt: skip
def test_decisions_of_something_else_are_refused(made, datainf, tmp_path, content, what):
    digest = load(str(made[1]), "classification").digest
    path = tmp_path / "decisions.json"
    path.write_text(content.replace("DIGEST", json.dumps(digest)))
    code, _, err = datainf("select", made[0], "--decisions", path, "--out", tmp_path / "clean")
    assert code == 1
    assert what in " ".join(err.split())
    assert "try:" in err
    assert not (tmp_path / "clean").exists()


def test_the_original_is_never_written_over(made, datainf):
    folder, source = made
    before = source.read_bytes()
    code, _, err = datainf("select", folder, "--drop", 1, "--out", source.parent)
    assert code == 1
    assert "holds the original" in err
    assert source.read_bytes() == before


def test_a_run_is_never_written_over(made, datainf):
    folder, _ = made
    code, _, err = datainf("select", folder, "--drop", 1, "--out", folder)
    assert code == 1
    assert "not an earlier selection" in " ".join(err.split())
    assert (folder / "train" / "index.json").is_file()
    code, _, err = datainf("mislabeled", folder, "--out", made[1])
    assert code == 1
    assert "holds the run's data" in err


def test_the_original_is_safe_in_a_folder_of_ours(saved_bert, datainf, tmp_path):
    """Where data by a name of ours have a folder of their own, in an earlier selection."""
    (tmp_path / "sel" / "data").mkdir(parents=True)
    source = write_form(tmp_path, "jsonl").rename(tmp_path / "sel" / "data" / "manifest.jsonl")
    query = write_rows(tmp_path / "query.jsonl", rows()[:3])
    run(RunConfig(train=str(source), query=str(query), out=str(tmp_path / "run"), method="datainf",
                  adapter=str(saved_bert[1])))  # fmt: skip
    (tmp_path / "sel" / "selection.json").write_text("{}")
    before = source.read_bytes()
    code, _, err = datainf("select", tmp_path / "run", "--drop", 2, "--out", tmp_path / "sel")
    assert code == 1
    assert "holds the original" in err
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["scores.parquet", "top.jsonl", "train/x.csv"])
def test_what_a_run_keeps_is_not_written_over(made, datainf, name):
    code, _, err = datainf("mislabeled", made[0], "--out", made[0] / name)
    assert code == 1
    assert "the run's own" in " ".join(err.split()) or "cannot tell" in err


def test_a_selection_takes_the_place_of_an_earlier_one(made, datainf, tmp_path):
    for drop in (2, 3):
        code, _, err = datainf("select", made[0], "--drop", drop, "--out", tmp_path / "c")
        assert code == 0
        assert ("has made way" in err) == (drop == 3)
    assert len(json.loads((tmp_path / "c" / "kept.json").read_text())) == 9


def test_rows_beyond_a_limit_stay(saved_bert, datainf, tmp_path):
    source = write_form(tmp_path, "jsonl")
    query = write_rows(tmp_path / "query.jsonl", rows()[:3])
    run(RunConfig(train=str(source), query=str(query), out=str(tmp_path / "run"), method="datainf",
                  adapter=str(saved_bert[1]), train_limit=8))  # fmt: skip
    datainf("select", tmp_path / "run", "--drop", 2, "--out", tmp_path / "clean")
    kept = json.loads((tmp_path / "clean" / "kept.json").read_text())
    assert len(kept) == 10
    assert kept[-4:] == [8, 9, 10, 11]
    weights = np.load(tmp_path / "clean" / "weights.npy")
    assert weights.shape == (12,)
    assert weights[8:].tolist() == [1.0] * 4
    assert len(read_form(tmp_path / "clean" / source.name, "jsonl")) == 10


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("place", ["clean/valid.jsonl", "clean/data.jsonl"])
def test_queries_that_were_selected_stay(saved_bert, datainf, tmp_path, place, first):
    """The data of the run's queries, where they are an earlier selection in the same folder."""
    source = write_form(tmp_path, "jsonl").rename(tmp_path / "data.jsonl")
    (tmp_path / "clean").mkdir()
    query = write_rows(tmp_path / place, rows()[:3])
    mark = {"data": query.name} if first else {"unfinished": True, "before": [query.name]}
    (tmp_path / "clean" / "selection.json").write_text(json.dumps(mark))
    run(RunConfig(train=str(source), query=str(query), out=str(tmp_path / "run"), method="datainf",
                  adapter=str(saved_bert[1])))  # fmt: skip
    before = query.read_bytes()
    code, _, err = datainf("select", tmp_path / "run", "--drop", 2, "--out", tmp_path / "clean")
    assert query.read_bytes() == before
    if query.name == source.name:
        assert code == 1
        assert "holds what the run reads" in " ".join(err.split())
    else:
        assert len(read_form(tmp_path / "clean" / "data.jsonl", "jsonl")) == 10


@pytest.mark.parametrize(("labels", "what"), [
    ([0.5, 1.25, 3.0], "numbers"), ([[0, 1], [2], []], "lists of classes"), (["a", "b", "a"], None),
    ([0, 1, 2], None),
])  # fmt: skip
def test_classes_alone_are_balanced(tmp_path, labels, what):
    data = [{"text": "a text", "label": label} for label in labels]
    train = load(write_rows(tmp_path / "data.jsonl", data), "classification")
    if what is None:
        _require_classes(train)
    else:
        with pytest.raises(OptionError, match=f"are {what}"):
            _require_classes(train)


@pytest.mark.parametrize("name", ["manifest.jsonl", "provenance.jsonl"])
def test_data_by_a_name_of_ours_have_a_folder(saved_bert, datainf, tmp_path, name):
    source = write_form(tmp_path, "jsonl").rename(tmp_path / name)
    query = write_rows(tmp_path / "query.jsonl", rows()[:3])
    run(RunConfig(train=str(source), query=str(query), out=str(tmp_path / "run"), method="datainf",
                  adapter=str(saved_bert[1])))  # fmt: skip
    code, out, _ = datainf("select", tmp_path / "run", "--drop", 2, "--out", tmp_path / "clean")
    assert code == 0
    assert out.strip() == str(tmp_path / "clean" / "data" / name)
    assert len(read_form(tmp_path / "clean" / "data" / name, "jsonl")) == 10


def test_suspects_of_a_store_in_adam_s_metric(saved_bert, tmp_path):
    """Where the default method had gradients projected in the optimizer's metric."""
    from datainf import collect, tasks
    from datainf.applications import mislabeled
    from datainf.attribution import attribute
    from datainf.models import load_model
    from datainf.projection import Projection

    loaded = load_model(None, str(saved_bert[1]), "classification")
    task = tasks.SequenceClassification(loaded.tokenizer)
    own = [{"text": row["sentence"], "label": row["label"]} for row in rows()]
    moments = {n: p.detach().square() + 0.1 for n, p in loaded.model.named_parameters()
               if "lora_" in n or "modules_to_save" in n}  # fmt: skip
    store = collect(loaded.model, own, task, out=tmp_path / "s", project=Projection(2, 0, "adam"),
                    second_moments=moments)  # fmt: skip
    found = mislabeled(attribute(store, store, "datainf", metric="adam"), [store])
    assert len(found.order) == 12


def test_what_taught_a_wrong_answer_goes_first(llama_run, datainf, tmp_path):
    """--by helpful drops what helped the queries, or one of them; influence what harmed them."""
    from datainf import load_scores

    scores = load_scores(llama_run / "scores.safetensors")
    query = scores.query_ids[2]
    for by, named, values in (
        ("helpful", (), scores.means()), ("influence", (), -scores.means()),
        ("helpful", ("--query", query), scores.values[2]),
        ("influence", ("--query", query), -scores.values[2]),
    ):  # fmt: skip
        out = tmp_path / f"{by}{len(named)}"
        code, *_ = datainf("select", llama_run, "--by", by, *named, "--drop", 3, "--out", out)
        assert code == 0
        manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
        dropped = [line["row"] for line in manifest]
        assert dropped == sorted(values.topk(3).indices.tolist())
        assert all(f"by {by}" in line["why"] for line in manifest)


def test_one_query_is_of_what_is_of_queries(llama_run, datainf, tmp_path):
    for by, query, what in (
        ("loss", "r3", "loss is not of queries"), ("helpful", "nobody", "no query 'nobody'"),
    ):  # fmt: skip
        out = tmp_path / "c"
        code, _, err = datainf(
            "select", llama_run, "--by", by, "--query", query, "--drop", 1, "--out", out
        )
        assert code == 1
        assert what in " ".join(err.split())
    datainf("score", llama_run, "--keep", 2, "--out", tmp_path / "ends")
    code, _, err = datainf("select", llama_run, "--scores", tmp_path / "ends", "--by", "helpful",
                           "--query", "r3", "--drop", 1, "--out", tmp_path / "c")  # fmt: skip
    assert code == 1
    assert "not all scores" in " ".join(err.split())


def test_labels_in_balance(made, datainf, tmp_path):
    folder, source = made
    datainf("select", folder, "--drop", "50%", "--balance", "--out", tmp_path)
    labels = [row["label"] for row in read_form(tmp_path / source.name, "jsonl")]
    assert sorted(labels) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(("arguments", "said"), [
    (["--drop", "0"], "--drop 0 of 12 examples is none"),
    (["--drop", "1%"], "--drop 1% of 12 examples is none"),
    (["--keep", "1000"], "--keep 1,000 of 12 examples is all of them"),
])  # fmt: skip
def test_an_amount_that_drops_nothing_is_said(made, datainf, tmp_path, arguments, said):
    code, _, err = datainf("select", made[0], *arguments, "--out", tmp_path / "clean")
    assert code == 0
    assert said in " ".join(err.split())


def test_a_label_that_no_example_has_any_more_is_said(made, datainf, tmp_path):
    data = load(made[1])
    gone = [{"row": r, "decision": "drop"} for r, label in enumerate(data.labels) if label == 1]

    def told(decisions):
        content = {"digest": data.digest, "decisions": decisions}
        (tmp_path / "decisions.json").write_text(json.dumps(content))
        code, _, err = datainf(
            "select", made[0], "--decisions", tmp_path / "decisions.json", "--out", tmp_path / "out"
        )
        assert code == 0, err
        return " ".join(err.split())

    assert "no example is left with the label 1 " in told(gone)
    assert "is left with" not in told(gone[1:])
    amount = ["--keep", "1", "--by", "loss", "--out", tmp_path / "few"]
    _, _, err = datainf("select", made[0], *amount)
    assert "; --balance drops or keeps the same share" in " ".join(err.split())
    _, _, err = datainf("select", made[0], *amount, "--balance")
    assert "no example is left with the label" in " ".join(err.split())
    assert "--balance drops" not in " ".join(err.split())
    corrected = {"row": data.labels.index(0), "decision": "relabel", "label": "1"}
    assert "is left with" not in told([*gone, corrected])


def test_repeated_rows_are_near_duplicates(made, datainf, tmp_path):
    """Every text is there twice, with one label: one of each stays."""
    folder, source = made
    datainf("select", folder, "--diverse", "--out", tmp_path)
    texts = [row["sentence"] for row in read_form(tmp_path / source.name, "jsonl")]
    assert sorted(texts) == sorted(TEXTS)


def test_without_labels_there_is_nothing_to_balance(llama_run, datainf, tmp_path):
    code, _, err = datainf("select", llama_run, "--drop", 1, "--balance", "--out", tmp_path / "c")
    assert code == 1
    assert "no labels to balance" in err
    code, *_ = datainf("mislabeled", llama_run, "--no-review")
    assert code == 0


@needs_browser
def test_the_review_page(made, datainf, tmp_path):
    folder, source = made
    _, table, _ = datainf("mislabeled", folder)
    with browser() as chromium:
        address = (folder / "review.html").as_uri()
        with opened(chromium, address, accept_downloads=True) as page:
            cards = page.locator(".suspect")
            expect(cards).to_have_count(12)
            rows_of = cards.evaluate_all("all => all.map(one => Number(one.dataset.row))")
            headings = page.locator(".suspect > header strong").all_text_contents()
            shares = re.findall(r"\d+\.\d %", table)
            assert headings == [f"suspicion {share}" for share in shares]
            cards.nth(0).locator("[data-decide=drop]").click()
            cards.nth(1).locator(".relabel").fill("1")
            cards.nth(1).locator(".relabel").press("Enter")
            cards.nth(1).locator(".relabel").blur()
            cards.nth(2).focus()
            page.keyboard.press("e")
            page.keyboard.press("j")
            page.keyboard.press("d")
            page.keyboard.press("u")
            counted = page.locator(".counted")
            expect(counted).to_contain_text("1 to drop, 1 to relabel, 1 to keep; 9 open")
            cards.nth(0).locator("details summary").click()
            page.wait_for_selector(".near")
            expect(cards.nth(0).locator(".near")).to_have_count(3)
            with page.expect_download() as started:
                page.locator("#download").click()
            path = tmp_path / started.value.suggested_filename
            started.value.save_as(path)
            page.reload()
            page.wait_for_selector("body[data-ready]")
            expect(counted).to_contain_text("1 to drop, 1 to relabel")
            page.locator(".toolbar select").last.select_option("drop")
            expect(page.locator(".suspect")).to_have_count(1)
    found = json.loads(path.read_text())
    truth = [{"row": rows_of[0], "decision": "drop"},
             {"row": rows_of[1], "decision": "relabel", "label": "1"},
             {"row": rows_of[2], "decision": "keep"}]  # fmt: skip
    assert [{k: v for k, v in one.items() if k != "id"} for one in found["decisions"]] == sorted(
        truth, key=lambda one: one["row"]
    )
    code, *_ = datainf("select", folder, "--decisions", path, "--out", tmp_path / "clean")
    assert code == 0
    kept = json.loads((tmp_path / "clean" / "kept.json").read_text())
    assert rows_of[0] not in kept
    assert len(kept) == 11
    by_id = {row["id"]: row for row in read_form(tmp_path / "clean" / source.name, "jsonl")}
    assert by_id[f"r{rows_of[1]}"]["label"] == 1
