"""A headless Chromium that opens the pages, where there is one."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


expect.set_options(timeout=20_000)  # where other work has the processor, a page takes its time


@contextmanager
def browser():
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium has no sandbox of its own.
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(found, address, *, refused=None, **options):
    """A page that has been read. An error in its console fails the test, and so does a request to
    elsewhere; but for what has `refused` in its text."""
    context = found.new_context(**options)
    page = context.new_page()
    wrong, asked = [], []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("body[data-ready]", timeout=20_000)
    yield page
    own = address.partition("#")[0].partition("?")[0]
    elsewhere = [
        url for url in asked
        if not url.startswith((own, "data:", "blob:"))
    ]  # fmt: skip
    context.close()
    assert [text for text in wrong if not (refused and refused in text)] == []
    assert elsewhere == []


def soon(page, check, *, within=10):
    """`check`, tried again until what the page draws next passes its assertions. A page draws what
    was asked of it a frame later: what is read at once may be what stood there before."""
    end = time.monotonic() + within
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
        page.wait_for_timeout(50)


__all__ = ["browser", "expect", "needs_browser", "opened", "soon"]
