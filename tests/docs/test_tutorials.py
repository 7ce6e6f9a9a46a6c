"""The tutorials do what they say: their commands and their code run, one after another.

On demos with less data and less training; `make tutorials` runs them on the demos as they are.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

import datainf as package
from small_demos import small_images, small_labels, small_text

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))
WHOLE = "DATAINF_WHOLE_DEMOS"
"""Set where the demos are not to be made smaller."""
BLOCK = re.compile(
    r"^(<!-- not run by the tests -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


def make_small(patch):
    small_text(patch, kinds=10, phrases=18, queries=2)
    small_labels(patch)
    small_images(patch)


@pytest.fixture
def demos(tmp_path_factory, datainf):
    """A demo by its folder's name, made once by its command, for all processes that test."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    def made(name):
        what = [name.removeprefix("datainf-demo-")] if name != "datainf-demo" else []
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / name).exists():
                with pytest.MonkeyPatch.context() as patch:
                    if WHOLE not in os.environ:
                        make_small(patch)
                    status, out, err = datainf("demo", *what, "--out", folder / name)
                assert status == 0, err
                assert "To look at" in out
                (report,) = (folder / name).rglob("report.html")
                assert str(report) in out
        return folder / name

    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_tutorial_runs(page, demos, datainf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    if WHOLE not in os.environ:
        text = text.replace("(100, 900)", "(20, 180)")
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
                if words[1] == "demo":  # has been run
                    assert list(tmp_path.glob("datainf-demo*")), line
                    continue
                status, out, err = datainf(*words[1:])
                assert status == 0, f"{line}\n{out}\n{err}"
                ran += 1
        elif language == "python":
            exec(compile(code, str(page), "exec"), names)
            ran += 1
    assert ran >= 1
    for report in tmp_path.rglob("report.html"):
        assert 'id="data-why-0"' in report.read_text(encoding="utf-8"), f"{report} has no reasons"


def test_every_page_is_in_the_site():
    site = (FOLDER.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(path.relative_to(FOLDER.parent)) for path in FOLDER.parent.rglob("*.md")}
    assert pages == set(re.findall(r"[\w/-]+\.md", site))
    assert package.__version__
