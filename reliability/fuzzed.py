"""The kinds of files that are fuzzed: a whole one of each, how it is made wrong, and what reads it
as a command does."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import peft
import torch
import yaml
from PIL import Image
from transformers import AutoModelForCausalLM

from datainf.applications.verify import verify
from datainf.attribution import attribute_top
from datainf.checkpoints import second_moments, weighed
from datainf.config import RunConfig, read_config
from datainf.data import load
from datainf.models import adapter_weights, base_of, candidates, load_model, load_tokenizer
from datainf.provenance import RECORD
from datainf.report.review import read_decisions
from datainf.runs import run
from datainf.scores import load_scores
from datainf.scores.file import read as read_contents
from datainf.scores.file import write as write_contents
from datainf.second_moments import load_moments, save_moments
from datainf.store import GradientStore, Index
from datainf.store.index import CHECKSUM
from datainf.tasks.images import open_image
from reliability.mutations import ABSURD, absurd, as_json, changed, restructured
from reliability.work import Work

Chance = random.Random
Change = Callable[[bytes, Chance], bytes]
SELDOM = 0.1
"""Of those that take long to read."""


@dataclass(frozen=True)
class Kind:
    """A file that is whole, what reads it, and what makes its bytes wrong. `checked` has checksums
    of all its bytes; `share` is how often it comes, beside 1 of the others."""

    name: str
    path: Path
    read: Callable[[], object]
    change: Change = changed
    checked: bool = False
    share: float = 1.0


def by_structure(change: Callable[[Any, Chance], Any] = restructured) -> Change:
    """JSON by its bytes, or as often by what it holds."""

    def broken(data: bytes, chance: Chance) -> bytes:
        if chance.random() < 0.5:
            return changed(data, chance)
        return as_json(change(json.loads(data), chance), chance)

    return broken


def kinds(folder: Path) -> list[Kind]:
    """All of them, made in a folder."""
    work, out = Work(folder / "work").make(), folder / "run"
    run(work.config(out))
    return [
        *tables(folder), *pictures(folder), *of_a_run(folder, out), *scores(folder, out),
        *models(folder, work), *trainings(folder, work),
    ]  # fmt: skip


def tables(folder: Path) -> Iterator[Kind]:
    """Data in every form."""
    rows = [{"id": f"r{i}", "text": f"text {i}", "label": i % 2, "note": "a,b"} for i in range(6)]
    turn = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    texts = {
        "data.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "data.json": json.dumps({"rows": rows}),
        "data.csv": "id,text,label\n" + "".join(f'{i},"text, {i}",{i % 2}\n' for i in range(6)),
        "data.tsv": "id\ttext\tlabel\n" + "".join(f"{i}\ttext {i}\t{i % 2}\n" for i in range(6)),
        "chats.jsonl": json.dumps(turn) + "\n",
    }
    names = {"chats.jsonl": "data, messages"}
    for name, text in texts.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        one_object = name in ("data.json", "chats.jsonl")
        yield Kind(
            names.get(name, f"data, {path.suffix}"), path, lambda p=path: read_all(load(str(p))),
            by_structure() if one_object else changed,
        )  # fmt: skip
    whole = datasets.Dataset.from_list(rows)
    parquet, saved = folder / "data.parquet", folder / "saved"
    whole.to_parquet(str(parquet))
    whole.save_to_disk(str(saved))
    yield Kind("data, .parquet", parquet, lambda: read_all(load(str(parquet))), share=SELDOM)
    for name in ("data-00000-of-00001.arrow", "state.json", "dataset_info.json"):
        change = changed if name.endswith(".arrow") else by_structure()
        kind = f"data saved by datasets, {name.replace('data-00000-of-00001', '')}"
        yield Kind(kind, saved / name, lambda: read_all(load(str(saved))), change, share=0.3)


def pictures(folder: Path) -> Iterator[Kind]:
    """A folder of images: the metadata, and the images themselves."""
    images = folder / "images"
    images.mkdir()
    pixels = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    rows = []
    for ending in ("png", "jpg", "gif", "bmp", "webp", "tif", "ppm"):
        pixels.save(images / f"1.{ending}")
        rows.append({"file_name": f"1.{ending}", "text": f"a {ending}"})
    metadata = images / "metadata.jsonl"
    metadata.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    yield Kind("metadata.jsonl of images", metadata, lambda: read_images(images))
    for row in rows:
        path = images / row["file_name"]
        yield Kind(f"an image, {path.suffix}", path, lambda: read_images(images), share=0.3)


def of_a_run(folder: Path, out: Path) -> Iterator[Kind]:
    """What a run leaves but for its scores, and what a person decides on its page."""
    train, decisions = load(str(folder / "data.jsonl")), folder / "decisions.json"
    some = [{"row": 1, "decision": "drop"}, {"row": 2, "decision": "relabel", "label": "0"}]
    decisions.write_text(json.dumps({"digest": train.digest, "decisions": some}))
    yield Kind(
        "decisions.json", decisions, lambda: read_decisions(decisions, train), by_structure()
    )
    settings = out / "run.yaml"
    yield Kind(
        "run.yaml",
        settings,
        lambda: RunConfig.from_values(read_config(settings), "run.yaml"),
        yaml_changed,
    )
    query = out / "query"
    index, shard = query / "index.json", next(query.glob("*.safetensors"))
    forged = by_structure(lambda value, chance: restructured(without_checksum(value), chance))
    yield Kind("index.json", index, lambda: Index.load(query))
    yield Kind("index.json, forged", index, lambda: read_store(query), forged)
    yield Kind("a run, by verify", index, lambda: verify(query), forged)
    recorded = folder / "recorded"
    shutil.copytree(out, recorded, ignore=shutil.ignore_patterns("train", "curvature"))
    record = recorded / RECORD
    led = by_structure(led_astray)
    yield Kind("provenance.jsonl, by verify", record, lambda: verify(recorded), led)
    yield Kind("a shard", shard, lambda: read_store(query), checked=True)
    moments = folder / "moments"
    moments.mkdir()
    opened = GradientStore.open(query)
    save_moments(moments, {name: G.mean_square() for name, G in opened.blocks.items()})
    yield Kind(
        "second moments", next(moments.iterdir()), lambda: load_moments(moments), checked=True
    )


def scores(folder: Path, out: Path) -> Iterator[Kind]:
    """Scores of both kinds; and files of them that say absurd things with the right checksums."""
    whole, top = out / "scores.safetensors", folder / "top.safetensors"
    train, query = (GradientStore.open(out / part) for part in ("train", "query"))
    attribute_top(train, query, "datainf", k=3).save(top)
    for name, path in (("scores", whole), ("top scores", top)):
        yield Kind(name, path, lambda p=path: use_scores(p), checked=True)
        yield Kind(f"{name}, forged", path, lambda p=path: use_scores(p), forger(path, folder))


def models(folder: Path, work: Work) -> Iterator[Kind]:
    """An adapter and its base, as they are looked at before any gradient."""
    base, adapter = folder / "base", work.folder / "adapter"
    named = base_of(str(adapter))
    AutoModelForCausalLM.from_pretrained(named).save_pretrained(base)
    load_tokenizer(named, None).save_pretrained(base)
    config = adapter / "adapter_config.json"
    values = json.loads(config.read_text()) | {"base_model_name_or_path": str(base)}
    config.write_text(json.dumps(values))
    both = str(base), str(adapter)

    def whole() -> object:
        return load_model(*both, "causal-lm", device="cpu")

    of_adapter = lambda: (candidates(None, both[1]), adapter_weights(both[1]))  # noqa: E731
    weights = "adapter_model.safetensors"
    yield Kind("adapter_config.json", config, of_adapter, by_structure(), share=0.5)
    yield Kind("adapter_config.json, and the model", config, whole, by_structure(), share=0.05)
    yield Kind(f"{weights}", adapter / weights, of_adapter, share=0.5)
    yield Kind(f"{weights}, and the model", adapter / weights, whole, share=0.05)
    own = base / "config.json"
    yield Kind("config.json", own, lambda: candidates(both[0], None), by_structure(), share=0.5)
    yield Kind("config.json, and the model", own, whole, by_structure(), share=0.05)
    yield Kind("model.safetensors", base / "model.safetensors", whole, share=0.05)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        yield Kind(name, base / name, lambda: load_tokenizer(*both), by_structure(), share=0.1)


def trainings(folder: Path, work: Work) -> Iterator[Kind]:
    """What a Trainer leaves of its optimizer and its learning rates."""
    checkpoint = folder / "checkpoint-4"
    checkpoint.mkdir()
    model = peft.AutoPeftModelForCausalLM.from_pretrained(
        work.folder / "adapter", is_trainable=True
    )
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model(torch.arange(6)[None]).logits.sum().backward()
    optimizer.step()
    path, state = checkpoint / "optimizer.pt", checkpoint / "trainer_state.json"
    torch.save(optimizer.state_dict(), path)
    log = [{"step": step, "learning_rate": 1e-3 / step, "loss": 1.0} for step in (1, 2, 3, 4)]
    state.write_text(json.dumps({"global_step": 4, "epoch": 1.0, "log_history": log}))
    yield Kind("trainer_state.json", state, lambda: weighed([checkpoint]), by_structure())
    yield Kind(
        "optimizer.pt", path, lambda: second_moments(checkpoint, model, trained),
        lambda data, chance: pickled(data, chance, path), share=0.5,
    )  # fmt: skip


def yaml_changed(data: bytes, chance: Chance) -> bytes:
    if chance.random() < 0.5:
        return changed(data, chance)
    return as_json(restructured(yaml.safe_load(data), chance), chance)  # which is YAML too


def without_checksum(index: Any) -> Any:
    """As those of older versions are, which have none: so what is wrong gets further."""
    return {key: value for key, value in index.items() if key != CHECKSUM}


def led_astray(record: Any, chance: Chance) -> Any:
    """A line of a record, of files that are named in folders that no system has, or by no names."""
    if chance.random() < 0.5:
        return restructured(record, chance)
    texts = [one for one in ABSURD if isinstance(one, str)]
    names = {name: f"{chance.choice(texts)}/{name}" for name in record["files"]}
    files = {names[name]: digest for name, digest in record["files"].items()}
    pairs = [[absurd(name, chance), digest] for name, digest in files.items()]
    return record | {"files": chance.choice((files, files, pairs))}


def forger(path: Path, folder: Path) -> Change:
    """Scores that say what they should not, with checksums that are right."""
    contents, forged = read_contents(path), folder / "forged.safetensors"

    def change(_: bytes, chance: Chance) -> bytes:
        part = chance.choice(("about", "query_ids", "train_ids", "tensors"))
        value = getattr(contents, part)
        if part == "tensors":
            name = chance.choice(list(value))
            other = chance.choice(list(value.values())).clone()
            value = {**value, name: chance.choice((other, other.long(), other[:1], other[None]))}
            if chance.random() < 0.3:
                del value[name]
        else:
            value = restructured(dict(value) if part == "about" else list(value), chance)
        write_contents(forged, replace(contents, **{part: value}))
        return forged.read_bytes()

    return change


def pickled(data: bytes, chance: Chance, path: Path) -> bytes:
    """An optimizer's state by its bytes, or with absurd values in it."""
    if chance.random() < 0.5:
        return changed(data, chance)
    state = torch.load(path, weights_only=True)
    try:
        torch.save(restructured(state, chance), path)
    except RecursionError:  # nested too deep to be written
        return changed(data, chance)
    return path.read_bytes()


def read_all(rows: Any) -> object:
    return list(rows), rows.ids, rows.digest, [rows.where(row) for row in range(len(rows))]


def read_images(folder: Path) -> object:
    return [open_image(row["image"]) for row in load(str(folder))]


def read_store(folder: Path) -> object:
    store = GradientStore.open(folder)
    return store.ids, store.losses, [G.to_dense() for G in store.blocks.values()], repr(store)


def use_scores(path: Path) -> object:
    found = load_scores(path)
    return found.top(query=0, k=2), repr(found)
