"""Every format gives the same rows; every fault is named with file, row and line."""

from __future__ import annotations

import csv
import json
import logging
import os

import datasets
import pytest

from datainf.data import Columns, decide, load
from datainf.errors import DataError, OptionError

ROWS = [
    {"id": "a", "sentence": 'He said "no", twice', "label": 0},
    {"id": "b", "sentence": "tabs and, commas", "label": 1},
    {"id": "c", "sentence": "line\u2028separator é \u202e", "label": 1},
]
CANONICAL = [{"text": row["sentence"], "label": row["label"]} for row in ROWS]


def write(folder, kind, rows=ROWS):
    folder.mkdir(exist_ok=True)
    path = folder / f"data.{kind}"
    if kind in ("jsonl", "ndjson"):
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps({"version": 1, "data": rows}), encoding="utf-8")
    elif kind in ("csv", "tsv"):
        options = {"delimiter": ","} if kind == "csv" else {
            "delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None}  # fmt: skip
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file, **options)
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
    elif kind == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    elif kind == "saved":
        datasets.Dataset.from_list(rows).save_to_disk(path)
    elif kind == "splits":
        datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(path)
    return path


@pytest.mark.parametrize(
    "kind", ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "saved", "splits"]
)
def test_every_format_gives_the_same_rows(kind, tmp_path):
    examples = load(write(tmp_path, kind))
    assert examples.task == "classification"
    assert examples.columns == {"text": "sentence", "label": "label", "id": "id"}
    found = [row | {"label": int(row["label"])} for row in examples]
    assert found == CANONICAL
    assert examples.ids == ["a", "b", "c"]
    assert examples[-1]["text"] == ROWS[2]["sentence"]
    assert len(load(write(tmp_path, kind), limit=2)) == 2
    assert examples.raw(1)["id"] == "b"
    assert examples.digest == load(write(tmp_path, kind)).digest or kind in ("saved", "splits")


def test_lines_are_counted_as_an_editor_does(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"two\nlines",0\n\nplain,1\n', encoding="utf-8")
    examples = load(path)
    assert [examples.where(row) for row in (0, 1)] == [
        "data.csv, row 0 (line 2)",
        "data.csv, row 1 (line 5)",
    ]
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n', encoding="utf-8")
    assert load(path).where(1) == "data.jsonl, row 1 (line 3)"
    assert load(path).ids == [0, 1]


FAULTS = [
    ("jsonl", b'{"text": "a"}\n{"text": \n', r"data.jsonl, line 2: not valid JSON"),
    ("jsonl", b'{"text": "a"}\n["b"]\n', r"line 2: list where a row should be an object"),
    ("jsonl", b'{"text": "a"}\n{"txt": "b"}\n', r"row 1 \(line 2\): text is missing"),
    ("jsonl", b'{"text": "a"}\n{"text": 3}\n', r"row 1 \(line 2\): text is a int"),
    ("jsonl", b'{"text": ""}\n', r"row 0 \(line 1\): text is empty"),
    ("jsonl", b'{"text": "a", "label": null}\n', r"row 0 \(line 1\): label is missing"),
    ("jsonl", b'{"text": "a", "label": NaN}\n', r"row 0 \(line 1\): label is missing"),
    ("jsonl", b'{"text": "a", "label": {"a": 1}}\n', r"row 0 \(line 1\): label is a dict"),
    ("jsonl", b'{"prompt": "p", "completion": ""}', r"row 0 \(line 1\): completion is empty"),
    ("jsonl", b'{"messages": []}', r"row 0 \(line 1\): messages is not a list of turns"),
    ("jsonl", b'{"messages": [{"role": "user"}]}', r"messages is not a list of turns"),
    ("jsonl", b'{"input_ids": [1, "x"]}', r"input_ids is not a list of whole numbers"),
    ("jsonl", b'{"text": "a", "id": 1}\n{"text": "b", "id": 1}', r"row 1 .*the id 1 .*row 0"),
    (
        "jsonl",
        b'{"text": "a", "id": 1}\n{"text": "b", "id": "1"}',
        r"row 1 \(line 2\): the id '1' stands at .*row 0 \(line 1\) too, as 1",
    ),
    ("jsonl", b'{"text": "a", "id": 1.5}', r"row 0 \(line 1\): the id is 1.5"),
    ("jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', r"line 2: not UTF-8 \(byte 0xff\)"),
    ("jsonl", b"[" * 100_000, r"line 1: not valid JSON"),
    ("jsonl", b"", r"holds no row"),
    ("jsonl", b'{"other": 1}', r"cannot tell the task from the columns other"),
    ("json", b'{"a": [1], "b": [2]}', r"holds dict, not a list of rows"),
    ("json", b"[1]", r"row 0: int where a row should be an object"),
    ("json", b'{"text": "a"}\n{"text": "b"}\n', r"not valid JSON"),
    ("csv", b"text,label\na,1\nb\n", r"data.csv, line 3: 1 fields, and the header has 2"),
    ("csv", b"text,text\na,1\n", r"two columns have the same name"),
    (
        "csv",
        b'text,label\na,0\n\n"open,1\nb,0\nc,1\n',
        r"^data.csv, the row that begins at line 4: unexpected end of data",
    ),
    ("csv", b'text,label\n"a\nb"x,0\nc,1\n', r"data.csv, the row that begins at line 2: '"),
    ("csv", b'"text,label\na,0\n', r"data.csv, the row that begins at line 1: unexpected end"),
    ("csv", b"text,label\n", r"holds no row"),
    ("csv", b"", r"holds no row"),
    ("csv", b"text,label\na,\n", r"row 0 \(line 2\): label is missing"),
    ("tsv", b"text\tlabel\nx\t1\t2\n", r"data.tsv, line 2: 3 fields"),
    ("parquet", b"PAR1 not", r"not a readable Parquet file"),
    ("bin", b"?", r"cannot tell what is in a file that ends in '.bin'"),
]


@pytest.mark.parametrize(("kind", "content", "message"), FAULTS)
def test_faults_are_named(kind, content, message, tmp_path):
    path = tmp_path / f"data.{kind}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(path)


@pytest.mark.parametrize(("content", "remedy"), [
    ('text,label\na,0\n"open,1\nb,0\n', "a quotation mark at the end"),
    ("text,text\na,1\n", "another name for one of them"),
])  # fmt: skip
def test_what_to_do_about_a_csv_file(content, remedy, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.remedy.startswith(remedy)


def test_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    for name, message in [
        ("trian.jsonl", r"no file trian.jsonl; did you mean train.jsonl\?"),
        ("train.jsn", r"did you mean train.jsonl\?"),
        ("nowhere/x.csv", r"no folder nowhere either"),
        (str(tmp_path), r"not one saved by datasets"),
        ("someone/some_data", r"neither a file here nor a data set that the hub gives"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            load(name)
        assert caught.value.remedy


def test_splits(tmp_path):
    both = {name: datasets.Dataset.from_list([{"text": name}]) for name in ("train", "test")}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "d")
    assert load(tmp_path / "d", split="test")[0] == {"text": "test"}
    for split, message in ((None, "none was named"), ("dev", "there is no 'dev'")):
        with pytest.raises(DataError, match=message):
            load(tmp_path / "d", split=split)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet", "saved"])
def test_a_split_of_what_has_none_is_refused(kind, tmp_path):
    """It would be taken for all of the rows."""
    path = write(tmp_path, kind)
    assert load(path, split=None).split is None
    with pytest.raises(DataError, match=rf"^{path} has no splits, and 'test'") as caught:
        load(path, split="test")
    assert caught.value.remedy == "leave the split away"


def test_the_split_that_was_taken_can_be_named(tmp_path):
    """A data set of one split, read without its name."""
    taken = load(write(tmp_path, "splits"))
    assert load(taken.source, split=taken.split).digest == taken.digest


def test_columns_by_convention_and_by_name(tmp_path):
    path = tmp_path / "d.jsonl"

    def columns(row, task=None, **named):
        path.write_text(json.dumps(row))
        found = load(path, task, columns=Columns(**named))
        return found.task, found[0]

    pair = {"sentence1": "x", "sentence2": "y", "label": 1}
    assert columns(pair) == ("classification", {"text": "x", "text_pair": "y", "label": 1})
    assert columns({"text": "x", "label": "pos"})[0] == "classification"
    assert columns({"text": "x", "label": 1}, "causal-lm") == ("causal-lm", {"text": "x"})
    both = {"prompt": "", "completion": "y"}
    assert columns(both | {"text": "z"})[1] == both
    assert columns({"question": "q", "answer": "a"}, prompt="question", completion="answer")[1] == {
        "prompt": "q",
        "completion": "a",
    }
    assert columns({"a": "x", "b": "y", "l": 0}, text="a", text_pair="b", label="l")[1] == {
        "text": "x",
        "text_pair": "y",
        "label": 0,
    }
    tokens = {"input_ids": [1, 2], "labels": [-100, 2], "attention_mask": [1, 1]}
    assert columns(tokens) == ("causal-lm", tokens)
    with pytest.raises(DataError, match=r"no column 'body' .*the columns are text"):
        columns({"text": "x"}, text="body")
    with pytest.raises(DataError, match="are not those of classification"):
        columns({"text": "x"}, "classification")
    with pytest.raises(OptionError):
        load(path, limit=0)
    assert decide(["label", "premise", "hypothesis"], Columns()).task == "classification"


def test_class_labels_stay_numbers(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    made = datasets.Dataset.from_dict({"text": ["a"], "label": [1]}, features=features)
    made.save_to_disk(tmp_path / "d")
    assert load(tmp_path / "d")[0]["label"] == 1


@pytest.mark.parametrize(
    "row", [{"text": "a \ud83d"}, {"prompt": "\udc00", "completion": "b"},
            {"messages": [{"role": "user", "content": "\ud83d"}]}, {"text": "a", "id": "\ud83d"}],
)  # fmt: skip
def test_half_of_a_letter(row, tmp_path):
    """JSON can say it, and no tokenizer takes it."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"rows\.jsonl, row 0 \(line 1\): .* half of a letter"):
        load(path, "causal-lm")


def test_nothing_but_our_error_is_said_of_a_broken_table(tmp_path):
    said = []
    handler, logger = logging.Handler(), logging.getLogger("datasets")
    handler.emit = said.append
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not")
    before = logger.level
    logger.addHandler(handler)
    try:
        with pytest.raises(DataError, match="not a readable Parquet file"):
            load(tmp_path / "broken.parquet")
    finally:
        logger.removeHandler(handler)
    assert said == []
    assert logger.level == before


def others(rows):
    """Other texts, in as many bytes."""
    return [row | {"sentence": row["sentence"][::-1]} for row in rows]


@pytest.mark.parametrize("kind", ["parquet", "saved", "splits"])
def test_other_bytes_in_the_same_place_are_other_data(kind, tmp_path):
    """With the time of the last change set back, as a copy that keeps times has it."""
    path = write(tmp_path, kind)
    before, elsewhere = load(path), write(tmp_path / "elsewhere", kind, others(ROWS))
    digest = before.digest
    assert [row["text"] for row in before] == [row["sentence"] for row in ROWS]
    for file in [path] if kind == "parquet" else path.rglob("*.arrow"):
        times = file.stat()
        fresh = elsewhere if kind == "parquet" else elsewhere / file.relative_to(path)
        file.with_name("fresh").write_bytes(fresh.read_bytes())
        file.with_name("fresh").replace(file)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = load(path)
    assert [row["text"] for row in after] == [row["sentence"] for row in others(ROWS)]
    assert after.digest != digest


@pytest.mark.parametrize("kind", ["saved", "splits"])
def test_a_saved_folder_is_the_same_in_another_place(kind, tmp_path):
    path = write(tmp_path, kind)
    digest = load(path).digest
    held = next(path.rglob("*.arrow"))
    held.with_name("cache-0123.arrow").write_bytes(b"what map() has made")
    assert load(path.rename(tmp_path / "moved")).digest == digest
