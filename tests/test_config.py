"""run.yaml gives back the settings that wrote it, from any folder."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from datainf.cli.options import PART_HELP
from datainf.columns import PARTS, Columns
from datainf.config import RunConfig, read_config
from datainf.errors import OptionError


def test_settings_come_back_from_their_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train.jsonl", "query.jsonl"):
        (tmp_path / name).write_text("{}")
    config = RunConfig(
        "train.jsonl", "query.jsonl", "run", model="org/base", adapter="org/adapter",
        method="cg", steps=3, damping="1e-3", normalize="unit", blocks="model", top=7,
        label_column="größe", query_split="validation[:10%]",
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    config.save(tmp_path / "run" / "run.yaml")
    monkeypatch.chdir("/")
    found = RunConfig.from_values(read_config(tmp_path / "run" / "run.yaml"), "run.yaml")
    absolute = {name: str(tmp_path / getattr(config, name)) for name in ("train", "query", "out")}
    assert found == replace(config, **absolute), "files from anywhere, hub ids as they were"
    assert found.columns == Columns(label="größe")


def test_every_part_of_the_columns_is_a_setting_and_an_option():
    settings = {f.name for f in fields(RunConfig) if f.name.endswith("_column")}
    assert settings == {f"{part}_column" for part in PARTS}
    assert list(PART_HELP) == list(PARTS)


def test_a_damping_written_as_a_number_is_read(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("train: a\nquery: b\nout: c\nadapter: d\ndamping: 0.5\n")
    assert RunConfig.from_values(read_config(path), "run.yaml").damping == "0.5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ""}, "--train is empty"),
        ({"query": ""}, "--query is empty"),
        ({"out": ""}, "--out is empty"),
        ({"adapter": ""}, "--adapter is empty"),
        ({"top": 0}, "--top must be at least 1, got 0"),
        ({"batch_tokens": 0}, "--batch-tokens must be at least 1"),
        ({"train_limit": 0}, "--train-limit must be at least 1"),
        ({"query_limit": -1}, "--query-limit must be at least 1"),
        ({"adapter": None}, "neither a model nor an adapter"),
        ({"method": "exact", "steps": 2}, "takes no steps"),
        ({"damping": "nan"}, "positive finite"),
    ],
)
def test_settings_are_checked_when_made(change, message):
    with pytest.raises(OptionError, match=message):
        RunConfig(**({"train": "a", "query": "b", "out": "c", "adapter": "d"} | change))
