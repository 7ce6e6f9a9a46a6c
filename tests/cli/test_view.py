"""`datainf view` as a program: what it prints leads to the page, and Ctrl-C ends it well."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
import webbrowser
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from datainf.cli.view import _opened


def test_the_printed_address_leads_to_the_page(llama_run):
    program = subprocess.Popen(
        [sys.executable, "-m", "datainf", "view", str(llama_run), "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # A shell has what it runs in the background ignore Ctrl-C, and all that this starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        url = program.stdout.readline().split()[0]
        with urllib.request.urlopen(url) as page:
            assert b"data-served" in page.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.partition("?")[0])
    finally:
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    assert program.returncode == 0
    assert said.splitlines()[-1] == "stopped"
    assert "Traceback" not in said


def test_the_browser_is_not_started_with_the_token(monkeypatch):
    started = []
    monkeypatch.setattr(webbrowser, "open", started.append)
    with _opened("http://127.0.0.1:1/?token=secret"):
        (address,) = started
        assert "secret" not in address
        page = Path(unquote(urlsplit(address).path))
        assert "http://127.0.0.1:1/?token=secret" in page.read_text()
        assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert not page.exists()
