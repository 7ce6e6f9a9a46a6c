"""Files that claim what they are not: refused by name, with little memory and in little time."""

from __future__ import annotations

import json
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import datasets
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from conftest import write_rows
from datainf.checkpoints import MOST_STEPS, weighed
from datainf.config import RunConfig, read_config
from datainf.data import load
from datainf.data.read import require_sound
from datainf.errors import DataError, DatainfError, InputError, ModelError, StoreError
from datainf.models import adapter_weights
from datainf.report.review import read_decisions
from datainf.scores import TopScores, load_scores
from datainf.second_moments import load_moments
from datainf.store import GradientStore, Index
from datainf.tasks.pixels import read_image

ROOM = 2 * 2**30
SECONDS = 30


@pytest.fixture(autouse=True)
def little_room():
    """Whatever a file claims, there are no more than `ROOM` bytes for it, and `SECONDS`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    started = time.process_time()
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.process_time() - started < SECONDS


def with_header(header: bytes | dict, length: int | None = None, rest: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + rest


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS = {
    "a length of 2**63": with_header(b"{}", 2**63),
    "a length of 2**64 - 1": with_header(b"{}", 2**64 - 1),
    "a length of terabytes": with_header(b"{}", 2**42),
    "terabytes of data": with_header({"a": ENTRY | {"shape": [2**40], "data_offsets": [0, 2**42]}}),
    "a shape that overflows": with_header({"a": ENTRY | {"shape": [2**40, 2**40]}}, rest=bytes(4)),
    "tensors that overlap": with_header({"a": ENTRY, "b": ENTRY}, rest=bytes(4)),
    "offsets that go back": with_header({"a": ENTRY | {"data_offsets": [4, 0]}}, rest=bytes(4)),
    "a dtype that there is not": with_header({"a": ENTRY | {"dtype": "F7"}}, rest=bytes(4)),
    "no object": with_header(b"[]"),
    "brackets": with_header(b"[" * 100_000),
    "ten thousand names": with_header(
        {str(i): ENTRY | {"shape": [0], "data_offsets": [0, 0]} for i in range(10_000)}
    ),
    "nothing": b"",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_headers_of_tensors(content, tmp_path, llama_run, saved_llama):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_bytes(
        (saved_llama[1] / "adapter_config.json").read_bytes()
    )
    store = tmp_path / "store"
    store.mkdir()
    told = json.loads((llama_run / "query" / "index.json").read_text())
    del told["checksum"]
    for shard in told["shards"]:
        shard["bytes"] = len(content)
    (store / "index.json").write_text(json.dumps(told))
    for path, read in {
        adapter / "adapter_model.safetensors": lambda: adapter_weights(str(adapter)),
        tmp_path / "scores.safetensors": lambda: load_scores(tmp_path / "scores.safetensors"),
        tmp_path / "second_moments.safetensors": lambda: load_moments(tmp_path),
        store / told["shards"][0]["file"]: lambda: GradientStore.open(store).ids,
    }.items():
        path.write_bytes(content)
        named = content == HEADERS["ten thousand names"] and path.parent == adapter
        assert named or str(path.parent) in refusal(read)  # names alone are a whole file


def refusal(read: Callable[[], object]) -> str:
    """What an error of ours says; nothing if it is read."""
    try:
        read()
    except DatainfError as error:
        return error.message
    return ""


DEEP = {
    ".json": "[" * 100_000, ".jsonl": '{"text": ' + "[" * 100_000, ".csv": "[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("ending", DEEP)
def test_a_hundred_thousand_brackets(ending, tmp_path):
    path = tmp_path / f"deep{ending}"
    path.write_text(DEEP[ending])
    with pytest.raises(DataError, match="deep"):
        load(path)


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000, '{"a": ' * 50_000])
def test_numbers_and_brackets_without_end(text, tmp_path, bert_run):
    """Python reads no number of more than 4,300 digits, and raises what JSON's errors are not."""
    checkpoint = tmp_path / "checkpoint-3"
    checkpoint.mkdir()
    for name in ("index.json", "run.yaml", "rows.jsonl", "rows.json", "decisions.json"):
        (tmp_path / name).write_text(text)
    (checkpoint / "trainer_state.json").write_text(text)
    train = load(bert_run.parent / "train.jsonl")
    for name, read in {
        "index.json": lambda: Index.load(tmp_path),
        "run.yaml": lambda: read_config(tmp_path / "run.yaml"),
        "rows.jsonl": lambda: load(tmp_path / "rows.jsonl"),
        "rows.json": lambda: load(tmp_path / "rows.json"),
        "decisions.json": lambda: read_decisions(tmp_path / "decisions.json", train),
        "trainer_state.json": lambda: weighed([checkpoint]),
    }.items():
        with pytest.raises(DatainfError, match=name):
            read()


def test_a_line_of_many_megabytes(tmp_path):
    long = tmp_path / "long.jsonl"
    long.write_text('{"text": "' + "a" * 30_000_000 + '"}\n{"text": 1}\n')
    with pytest.raises(DataError, match=r"long\.jsonl, row 1 \(line 2\)"):
        load(long)
    long.write_bytes(b'{"text": "' + b"a" * 30_000_000)
    with pytest.raises(DataError, match=r"long\.jsonl, line 1"):
        load(long)


def test_a_million_columns(tmp_path, datainf):
    wide = tmp_path / "wide.csv"
    row = ",".join(map(str, range(1_000_000))) + "\n"
    wide.write_text(row * 3)
    with pytest.raises(DataError, match=r"wide\.csv: 1,000,000 columns"):
        load(wide)
    twice = tmp_path / "twice.csv"
    twice.write_text(",".join(["?" + "key" * 20_000] * 2) + "\n")
    with pytest.raises(DataError, match=r"twice\.csv: two columns have the same name") as caught:
        load(twice)
    assert len(caught.value.message) < 1000
    write_rows(tmp_path / "wide.jsonl", [{f"c{i}": 1 for i in range(20_000)}])
    given = ["--model", "none", "--trainable", "*", "--task", "causal-lm"]
    data = ["--data", tmp_path / "wide.jsonl", "--out", tmp_path / "out"]
    code, _, err = datainf("collect", *given, *data)
    assert code == 1
    assert len(err) < 10_000


def test_aliases_that_double_again_and_again(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    path = tmp_path / "run.yaml"
    path.write_text("\n".join([*lines, "seed: *a59", "damping: *a59", "*a59 : 1"]))
    with pytest.raises(InputError, match=r"run\.yaml"):
        RunConfig.from_values(read_config(path), str(path))
    path.write_text("\n".join([*lines, "damping: *a59"]).replace("a0: &a0", "seed: &a0"))
    with pytest.raises(InputError, match=r"run\.yaml"):
        RunConfig.from_values(read_config(path), str(path))


@pytest.mark.parametrize("value", ["2024-13-45", "0b", "!!int x", "!!float x", "!!timestamp x"])
def test_yaml_that_is_no_value(value, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"train: {value}\n")
    with pytest.raises(InputError, match=r"run\.yaml"):
        RunConfig.from_values(read_config(path), str(path))


def png(width: int, height: int) -> bytes:
    """Of so many black pixels, in a few bytes if they are many."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(min(10_000_000, (width // 8 + 1) * height)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(40_000, 40_000), (2**31 - 1, 2**31 - 1), (80_000_000, 1)])
def test_pictures_of_a_billion_pixels(size, tmp_path):
    (tmp_path / "1.png").write_bytes(png(*size))
    write_rows(tmp_path / "metadata.jsonl", [{"file_name": "1.png", "text": "a"}])
    with pytest.raises(DataError, match=r"metadata.jsonl.*|.*1\.png.*pixels"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"1\.png"):
        read_image(str(tmp_path / "1.png"), 64)


def test_no_other_program_is_started_on_a_picture(tmp_path, monkeypatch):
    """Pillow gives PostScript to Ghostscript, whatever the file's ending."""
    path = tmp_path / "1.png"
    Image.new("RGB", (4, 4)).save(tmp_path / "1.eps")
    (tmp_path / "1.eps").rename(path)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(DataError, match=r"1\.png"):
        read_image(str(path), 64)


def nested_pictures(path: Path, picture: dict, kind: object) -> Path:
    """A table with a picture in a list in an object, as `datasets` says in a Parquet file."""
    held = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    plain, told = (
        datasets.Features({"text": datasets.Value("string"), "more": {"all": datasets.List(one)}})
        for one in (held, kind)
    )
    rows = {"text": ["a", "b"], "more": [{"all": [picture]}] * 2}
    table = datasets.Dataset.from_dict(rows, features=plain).data.table
    pq.write_table(table.cast(told.arrow_schema), path)
    return path


def saved_as_it_is(table: Path, folder: Path) -> Path:
    """A table as `datasets` saves it, with the paths that are in it."""
    folder.mkdir(exist_ok=True)
    rows = pq.read_table(table)
    with (
        pa.OSFile(str(folder / "data.arrow"), "wb") as file,
        pa.ipc.new_stream(file, rows.schema) as writer,
    ):
        writer.write_table(rows)
    features = datasets.Features.from_arrow_schema(rows.schema).to_dict()
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": "data.arrow"}], "_fingerprint": "a", "_split": None,
             "_format_type": None, "_format_kwargs": {}, "_format_columns": None,
             "_output_all_columns": False}  # fmt: skip
    (folder / "state.json").write_text(json.dumps(state))
    return folder


@pytest.mark.parametrize("kind", [datasets.Image, datasets.Audio, datasets.Video, datasets.Pdf])
def test_no_file_is_decoded_wherever_a_table_has_it(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(kind, "decode_example", lambda *_, **__: pytest.fail("it was decoded"))
    Image.new("RGB", (4, 4)).save(tmp_path / "1.eps")
    (tmp_path / "secret").write_text("not for you")
    for picture in (
        {"bytes": (tmp_path / "1.eps").read_bytes(), "path": None},
        {"bytes": None, "path": str(tmp_path / "secret")},
        {"bytes": None, "path": "http://127.0.0.1:9/x.png"},
    ):
        table = nested_pictures(tmp_path / "rows.parquet", picture, kind())
        for source in (table, saved_as_it_is(table, tmp_path / "saved")):
            train = load(source, "causal-lm")
            assert train[0] == {"text": "a"}
            assert train.raw(0)["more"] == {"all": [picture]}
            part = load(train.write([1], tmp_path / "part"), "causal-lm")
            assert part.raw(0)["more"] == {"all": [picture]}
            (feature,) = part._table.rows.features["more"].values()
            assert feature == datasets.List(kind(decode=False))


def test_steps_without_end(tmp_path):
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    log = [{"step": 1, "learning_rate": 0.1}]
    state = {"global_step": 10**12, "log_history": log}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(ModelError, match=r"trainer_state\.json"):
        weighed([checkpoint])


def test_many_checkpoints_of_many_steps(tmp_path):
    """Weighed in the room that the steps take, however many checkpoints there are."""
    log = [{"step": 1, "learning_rate": 0.1}]
    folders = []
    for step in range(MOST_STEPS - 60, MOST_STEPS):
        folders.append(tmp_path / f"checkpoint-{step}")
        folders[-1].mkdir()
        state = {"global_step": step, "log_history": log}
        (folders[-1] / "trainer_state.json").write_text(json.dumps(state))
    found = weighed(folders)
    assert sum(one.weight for one in found) == pytest.approx(1)
    assert found[0].weight == pytest.approx(1, abs=1e-4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([2**63, -1, 10**400, "../x", "/dev/zero", "\x1b[2J", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def put_in(value: dict, path: list[str | int], new: object) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


FIELDS = [
    ["n"], ["dtype"], ["blocks"], ["fingerprints"], ["shard_rows"], ["projection"], ["task"],
    ["notes"], ["shards"], ["schema"], ["blocks", 0], ["blocks", 0, "name"], ["blocks", 0, "shape"],
    ["blocks", 0, "shape", 0], ["blocks", 0, "module"], ["blocks", 0, "kept"], ["shards", 0],
    ["shards", 0, "file"], ["shards", 0, "start"], ["shards", 0, "rows"], ["shards", 0, "bytes"],
    ["shards", 0, "checksum"], ["fingerprints", "base"],
]  # fmt: skip


@pytest.fixture(scope="module")
def forged_store(llama_run, tmp_path_factory):
    """A store without a checksum of its index, and what that says."""
    folder = tmp_path_factory.mktemp("forged")
    for file in (llama_run / "query").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    told = json.loads((folder / "index.json").read_text())
    del told["checksum"]
    return folder, json.dumps(told)


@RELAXED
@given(st.sampled_from(FIELDS), JSON)
def test_any_value_in_any_field_of_an_index(forged_store, path, value):
    folder, text = forged_store
    told = json.loads(text)
    put_in(told, path, value)
    (folder / "index.json").write_text(json.dumps(told))

    def read() -> None:
        store = GradientStore.open(folder)
        assert all(len(G.to_dense()) == len(store.ids) for G in store.blocks.values())

    assert refusal(read) == "" or str(folder) in refusal(read)


@RELAXED
@given(st.sampled_from(list(RunConfig.__dataclass_fields__)), JSON)
def test_any_value_for_any_setting(name, value):
    values = {"train": "a.jsonl", "query": "b.jsonl", "out": "run", "adapter": "x", name: value}
    assert len(refusal(lambda: RunConfig.from_values(values, "run.yaml"))) < 10_000


@RELAXED
@given(JSON)
def test_any_object_as_decisions(bert_run, tmp_path_factory, value):
    train = load(bert_run.parent / "train.jsonl")
    path = Path(tmp_path_factory.getbasetemp()) / "decisions.json"
    path.write_text(json.dumps({"digest": train.digest, "decisions": [value]}))
    with pytest.raises(DataError, match=r"decisions\.json"):
        read_decisions(path, train)


def test_ranks_of_examples_that_there_are_not(tmp_path, bert_run):
    from datainf import attribute_top

    stores = [GradientStore.open(bert_run / part) for part in ("train", "query")]
    top = attribute_top(*stores, "gradient", k=2)
    top.helpful.rows[0, 0] = 10**6
    path = tmp_path / "top.safetensors"
    top.save(path)
    with pytest.raises(StoreError, match=r"top\.safetensors"):
        TopScores.load(path)


def test_values_that_are_no_scores(tmp_path):
    path = tmp_path / "scores.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, metadata={"datainf-scores-1": "[" * 100_000}))
    with pytest.raises(StoreError, match=r"scores\.safetensors"):
        load_scores(path)


def test_arrow_offsets_that_lead_out_of_the_file(tmp_path):
    """They are mapped as they are: the first look at such a row would end the process."""
    saved = tmp_path / "saved"
    rows = [{"text": f"text {i}"} for i in range(6)]
    datasets.Dataset.from_list(rows).save_to_disk(str(saved))
    path = next(saved.glob("*.arrow"))
    whole = path.read_bytes()
    offsets = struct.pack("<7i", *range(0, 43, len("text 0"))[:7])
    place = whole.index(offsets)
    path.write_bytes(whole[: place + 8] + struct.pack("<i", 2**30) + whole[place + 12 :])
    with pytest.raises(DataError, match="saved: its Arrow files are damaged"):
        load(saved)


def test_indices_of_rows_that_are_not_there(tmp_path):
    saved, other = tmp_path / "saved", tmp_path / "other"
    rows = [{"text": f"text {i}"} for i in range(6)]
    datasets.Dataset.from_list(rows).select([5, 1]).save_to_disk(str(saved))
    data = datasets.Dataset.from_list(rows)
    data._indices = datasets.table.InMemoryTable.from_pydict(
        {"indices": pa.array([0, 9], pa.uint64())}
    )
    assert load(saved).ids == [0, 1]
    with pytest.raises(DataError, match="other"):
        require_sound(other, data)
