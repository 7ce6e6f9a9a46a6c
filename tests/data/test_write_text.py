"""A part of a text file: the bytes of its rows are those that were there."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datainf.data import load
from datainf.data.fields import in_line, in_object
from datainf.data.formats import read_file
from datainf.data.write_file import write_file
from datainf.errors import DataError


def written(tmp_path, name, content, rows, labels=None):
    source = tmp_path / name
    source.write_bytes(content)
    return load(source, "classification").write(rows, tmp_path / "part", labels or {}).read_bytes()


CSV = (
    b"\xef\xbb\xbfid,text,label,score,note\r\n"
    b'1,"a, ""b""\r\nc",good,,""\r\n'
    b'2, plain ,"bad",0.50,\r\n'
    b"\r\n"
    b"3,\xc3\xa9\xe2\x80\xa8x,good,1e3,NA\r\n"
    b'4,d"d,bad,,"x"'
)
RECORDS = [
    b'1,"a, ""b""\r\nc",good,,""',
    b'2, plain ,"bad",0.50,',
    b"3,\xc3\xa9\xe2\x80\xa8x,good,1e3,NA",
    b'4,d"d,bad,,"x"',
]
HEAD = b"\xef\xbb\xbfid,text,label,score,note\r\n"


def test_all_rows_of_a_csv_file_are_the_file(tmp_path):
    assert written(tmp_path, "a.csv", CSV, [0, 1, 2, 3]) == CSV


@pytest.mark.parametrize(("rows", "labels", "truth"), [
    ([0, 2], {}, [RECORDS[0], RECORDS[2]]),
    ([3, 0], {}, [RECORDS[3], RECORDS[0]]),
    ([0, 3], {3: "good"}, [RECORDS[0], b'4,d"d,good,,"x"']),
    ([0, 1], {1: "good", 0: "bad"}, [RECORDS[0].replace(b"good", b"bad"),
                                     RECORDS[1].replace(b'"bad"', b'"good"')]),
])  # fmt: skip
def test_a_part_of_a_csv_file(tmp_path, rows, labels, truth):
    assert written(tmp_path, "a.csv", CSV, rows, labels) == HEAD + b"\r\n".join(truth)


def test_missing_values_stay_missing_for_strict_readers(tmp_path):
    content = b'text,label,score,note\na,x,1.5,""\nb,y,,\nc,x,,z\n'
    part = written(tmp_path, "a.csv", content, [0, 1], {1: "x"})
    options = pa_csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    table = pa_csv.read_csv(io.BytesIO(part), convert_options=options)
    assert table.schema.field("score").type == pa.float64()
    assert table.column("score").to_pylist() == [1.5, None]
    assert table.column("note").to_pylist() == ["", None]


def test_a_tsv_file_has_no_quotes(tmp_path):
    content = b'text\tlabel\r"a\tx\rb"\ty\r'
    assert written(tmp_path, "a.tsv", content, [1, 0], {1: "x"}) == b'text\tlabel\rb"\tx\r"a\tx\r'


LINES = [
    b'{"text": "a", "label": 1, "n": 0.12345678901234567890123, "z": -0, "big": 1e400}',
    b'{ "text":"\\u00e9" ,"label" : 0,"n":1.0E+2}',
    b'{"text": "\xc3\xa9\xe2\x80\xa8", "label": 1, "label2": {"label": 1}}',
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_of_json_are_copied(tmp_path, end, last):
    content = b"\xef\xbb\xbf" + end.join([LINES[0], b"", *LINES[1:]]) + (end if last else b"")
    assert written(tmp_path, "a.jsonl", content, [0, 1, 2]) == content
    part = written(tmp_path, "a.jsonl", content, [1, 2], {1: "1"})
    changed = LINES[1].replace(b" : 0", b" : 1")
    assert part == b"\xef\xbb\xbf" + changed + end + LINES[2] + (end if last else b"")
    part = written(tmp_path, "a.jsonl", content, [2, 2, 1], {2: "0"})
    changed = LINES[2].replace(b'"label": 1, ', b'"label": 0, ')
    assert part == b"\xef\xbb\xbf" + end.join([changed, changed, LINES[1]]) + (end if last else b"")


def test_a_list_keeps_its_own_form(tmp_path):
    rows = b",\r\n  ".join(LINES)
    for head, tail in (
        (b"[\r\n  ", b"\r\n]\r\n"),
        (b'{"v": 1e400, "d": [', b'], "after": "\xc3"}'),
    ):
        tail = tail.replace(b"\xc3", b"\xc3\xa9")
        assert written(tmp_path, "a.json", head + rows + tail, [0, 1, 2]) == head + rows + tail
        part = written(tmp_path, "a.json", head + rows + tail, [2, 0], {0: "0"})
        changed = LINES[0].replace(b'"label": 1', b'"label": 0')
        assert part == head + LINES[2] + b",\r\n  " + changed + tail


def test_a_list_of_one_row(tmp_path):
    content = b'[{"text": "a", "label": 1}]'
    assert json.loads(written(tmp_path, "a.json", content, [0, 0])) == json.loads(content) * 2
    lines = written(tmp_path, "a.jsonl", content[1:-1], [0, 0]).splitlines()
    assert lines == [content[1:-1]] * 2


@pytest.mark.parametrize(("name", "content", "place"), [
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "a", "label": 1, "text": "b"}', "line 2"),
    ("a.json", '[{"text": "a", "label": 1, "label": 2}]', "a.json"),
])  # fmt: skip
def test_two_values_of_one_key_are_refused(tmp_path, name, content, place):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{place}: two values have the same key"):
        load(tmp_path / name)


def test_a_file_that_has_changed_is_not_copied(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_bytes(b"\n".join(LINES))
    whole = load(source, "classification")
    source.write_bytes(b"\n".join(LINES[::-1]))
    with pytest.raises(DataError, match="has changed since it was read"):
        whole.write([0], tmp_path / "part")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=8,
)


ROW = st.dictionaries(st.text(), VALUES, min_size=1)


@given(ROW, VALUES, st.sampled_from([None, 1]), st.data())
def test_one_value_of_an_object(row, new, indent, data):
    key = data.draw(st.sampled_from(sorted(row)))
    text = json.dumps(row, indent=indent, ensure_ascii=data.draw(st.booleans()))
    assert json.loads(in_object(text, {key: new})) == {**row, key: new}
    assert in_object(text, {}) == text


def test_one_value_of_an_object_in_an_object():
    text = '{"image": {"path": "a", "n": 1e400}, "path": 0}'
    new = {"image": {"path": "/b", "n": float("inf")}}
    assert in_object(text, new) == text.replace('"a"', '"/b"')


FIELD = st.text(st.sampled_from('ab",\n\r é'), max_size=5)


@given(st.lists(FIELD, min_size=1, max_size=5), FIELD, st.booleans(), st.data())
def test_one_field_of_a_line(fields, value, all_quoted, data):
    buffer = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if all_quoted or fields == [""] else csv.QUOTE_MINIMAL
    csv.writer(buffer, quoting=quoting).writerow(fields)
    place = data.draw(st.integers(0, len(fields) - 1))
    text = in_line(buffer.getvalue().removesuffix("\r\n"), {place: value}, ",")
    truth = [*fields[:place], value, *fields[place + 1 :]]
    assert next(csv.reader(io.StringIO(text, newline=""), strict=True), [""]) == truth


@given(
    st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.data(),
)  # fmt: skip
def test_a_part_of_any_csv_file_reads_as_those_rows(tmp_path_factory, rows, end, closed, data):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writerows([["text", "more"], *rows])
    folder = tmp_path_factory.mktemp("csv")
    content = buffer.getvalue() if closed else buffer.getvalue().removesuffix(end)
    (folder / "a.csv").write_text(content, newline="", encoding="utf-8")
    table = read_file(folder / "a.csv")
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    write_file(folder / "a.csv", table, chosen, folder / "b.csv", None, {})
    assert list(read_file(folder / "b.csv").rows) == [table.rows[row] for row in chosen]
    write_file(folder / "a.csv", table, range(len(rows)), folder / "b.csv", None, {})
    assert (folder / "b.csv").read_bytes() == (folder / "a.csv").read_bytes()


def test_many_lines_that_end_in_two_bytes(tmp_path):
    """Longer than what is read at one time, which may end between the two."""
    rows = [f'{"é" * (i % 97)},"{i}\r\n"\r\n' for i in range(3000)]
    (tmp_path / "a.csv").write_text("a,b\r\n" + "".join(rows), newline="", encoding="utf-8")
    table = read_file(tmp_path / "a.csv")
    write_file(tmp_path / "a.csv", table, range(1, 3000, 2), tmp_path / "b.csv", None, {})
    truth = "a,b\r\n" + "".join(rows[1::2])
    assert (tmp_path / "b.csv").read_bytes() == truth.encode()
