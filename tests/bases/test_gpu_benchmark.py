"""The benchmark of a GPU: every part at toy size, on whatever there is."""

from __future__ import annotations

import json
import sys
import time

import pytest
import torch

import benchmarks.__main__ as page
from benchmarks.gpu import diffusion, exact, llama, scoring, stable_diffusion
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.parts import PARTS, Part, section
from benchmarks.gpu.watched import in_turn

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    stores = tmp_path_factory.mktemp("stores")
    assert main(["--toy", "--results", str(folder), "--data", str(stores)]) == 0
    assert not list(stores.iterdir())
    return folder


@pytest.mark.parametrize("name", PARTS)
def test_a_part_leaves_its_figures(results, name):
    about = json.loads((results / f"gpu-{name}.json").read_text())
    assert "torch" in about["machine"]
    text = "\n".join(PARTS[name].code.lines(about["found"]))
    assert "memory is too small" not in text
    assert "taken alone" not in text
    assert text.count("\n| ") > 3


def without_memory(found):
    """The same figures, had memory been too small for every way."""
    if not isinstance(found, dict):
        return found
    if {"seconds", "peak"} <= set(found):
        return None
    return {name: without_memory(value) for name, value in found.items()}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_memory_is_too_small_for(results, name):
    about = json.loads((results / f"gpu-{name}.json").read_text())
    text = "\n".join(PARTS[name].code.lines(without_memory(about["found"])))
    assert "memory is too small" in text
    heads = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in heads}) <= 2  # tables of one or two shapes


def test_a_way_that_memory_is_too_small_for_is_not_tried_again():
    tried = []

    def too_much():
        tried.append(1)
        raise torch.OutOfMemoryError("there is not so much")

    found = in_turn({"large": too_much, "small": lambda: None}, torch.device("cpu"))
    assert found["large"] is None
    assert found["small"]["seconds"] >= 0
    assert len(tried) == 1


def test_the_page_has_those_that_are_there(results, tmp_path):
    assert section(tmp_path) == []
    (tmp_path / "gpu-exact.json").write_bytes((results / "gpu-exact.json").read_bytes())
    told = section(tmp_path)
    assert [line for line in told if line.startswith("#")] == ["## On a GPU", "### Exact scores"]
    assert sum(line.startswith("### ") for line in section(results)) == len(PARTS)


def test_the_page_is_made_of_what_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(page, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--page"])
    page.main()
    assert (tmp_path / "RESULTS.md").read_text().startswith("# Results")


def test_parts_that_there_are_not(capsys, monkeypatch):
    with pytest.raises(SystemExit):
        main(["llama70b", "--toy"])
    assert "no part llama70b" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["exact"])
    assert "no GPU" in capsys.readouterr().err


class Stuck:
    """A part's code that is stuck or at fault after its first figure."""

    TOY = None

    def __init__(self, fault: Exception | None) -> None:
        self.fault, self.closed = fault, False

    def run(self, *_):
        try:
            yield {"figures": 1}
            if self.fault is not None:
                raise self.fault
            time.sleep(60)
        finally:
            self.closed = True


@pytest.mark.parametrize("fault", [None, RuntimeError("a fault")])
def test_time_that_is_over_and_faults(monkeypatch, tmp_path, capsys, fault):
    """What came before is kept, and the next part has its turn."""
    code = Stuck(fault)
    code.__doc__, code.lines = "Stuck.", lambda found: [str(found)]
    monkeypatch.setattr(Part, "code", code)
    monkeypatch.setitem(PARTS, "stuck", Part("Stuck", "stuck", 1))
    failed = main(["stuck", "stuck", "--toy", "--results", str(tmp_path)])
    assert failed == (0 if fault is None else 2)
    assert json.loads((tmp_path / "gpu-stuck.json").read_text())["found"] == {"figures": 1}
    said = capsys.readouterr()
    assert said.out.count("stuck: 0 s") == 2
    assert said.out.count("its 1 s are over") == 2 * (fault is None)
    assert ("a fault" in said.err) == (fault is not None)
    assert code.closed


def test_the_shapes_are_the_published_ones():
    nowhere = torch.device("meta")
    for name, parameters in (("llama7b", 6_738_415_616), ("llama13b", 13_015_864_320)):
        about = llama.about(llama.make_model(llama.FULL[name], nowhere), llama.FULL[name])
        assert about["parameters"] - about["adapter"] == parameters
    pipeline, model = stable_diffusion.make(stable_diffusion.Shape(), nowhere)
    parts = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters() if not p.requires_grad)
        for name in ("unet", "vae", "text_encoder")
    }
    assert parts == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
    learned = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learned) == 797_184
    assert {p.dtype for p in learned} == {torch.float32}


def test_every_part_has_its_sizes():
    assert set(PARTS) == {name for code in (llama, scoring, exact, diffusion) for name in code.FULL}
