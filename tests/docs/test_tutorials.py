"""The tutorials do what they say: their commands and their code run, one after another."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

import datainf as package

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(
    r"^(<!-- not run by the tests -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="session")
def demos(tmp_path_factory):
    """A demo by its folder's name, made once; each page finds it as the command would leave it."""
    from datainf.demos.demo import run_demo
    from datainf.demos.images import run_images_demo
    from datainf.demos.labels import run_labels_demo

    folder = tmp_path_factory.mktemp("demos")
    ways = {
        "datainf-demo": run_demo, "datainf-demo-labels": run_labels_demo,
        "datainf-demo-images": run_images_demo,
    }  # fmt: skip

    def made(name):
        if not (folder / name).exists():
            ways[name](folder / name)
        return folder / name

    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_tutorial_runs(page, demos, datainf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"datainf-demo(?:-\w+)?", text)):
        shutil.copytree(demos(name), tmp_path / name)
    names: dict = {}
    ran = 0
    for norun, language, code in BLOCK.findall(text):
        if norun:
            continue
        if language == "sh":
            for line in filter(None, code.splitlines()):
                words = shlex.split(line)
                assert words[0] == "datainf", line
                if words[1] == "demo":  # has been run, by what the command calls
                    assert list(tmp_path.glob("datainf-demo*")), line
                    continue
                status, out, err = datainf(*words[1:])
                assert status == 0, f"{line}\n{out}\n{err}"
                ran += 1
        elif language == "python":
            exec(compile(code, str(page), "exec"), names)
            ran += 1
    assert ran >= 1


def test_every_page_is_in_the_site():
    site = (FOLDER.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(path.relative_to(FOLDER.parent)) for path in FOLDER.parent.rglob("*.md")}
    assert pages == set(re.findall(r"[\w/-]+\.md", site))
    assert package.__version__
