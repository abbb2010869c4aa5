"""Debian's Chromium, without and with WebGPU, pages that must not complain, and a server (server.py)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright
from server import TestServer

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "/dist/": ROOT / "browser" / "dist",
    "/data/": ROOT / "build" / "browser" / "data",
    "/models/": ROOT / "build" / "browser" / "models",
    "/golden/": ROOT / "tests" / "golden" / "good",
    "/bad/": ROOT / "tests" / "golden" / "bad",
    "/networks/": ROOT / "reproduce" / "results",
    "/demo/": ROOT / "build" / "browser" / "site",
    "/test/": ROOT / "browser" / "test",
}
OPTIONS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # performance.measureUserAgentSpecificMemory answers at once
    "--enable-blink-features=ForceEagerMeasureMemory",
)
WEBGPU = "--enable-unsafe-webgpu"

Visitor = Callable[..., Page]


class Complaints:
    """What pages write to the console as an error or a warning, and exceptions that nothing caught."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        """A text that this test makes a page complain with."""
        self._allowed.append(pattern)

    def listen(self, context: BrowserContext) -> None:
        context.on("console", self._read)
        context.on("weberror", lambda error: self._found.append(f"not caught: {error.error}"))

    def _read(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._found.append(f"{message.type}: {message.text}")

    def unexpected(self) -> list[str]:
        return [each for each in self._found if not any(re.search(pattern, each) for pattern in self._allowed)]


@pytest.fixture(scope="session")
def server() -> Iterator[TestServer]:
    with TestServer(FOLDERS).start() as running:
        yield running
        running.shutdown()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


def launched(playwright: Playwright, *more: str) -> Browser:
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: run `make browser-tools`"
    return playwright.chromium.launch(executable_path=program, args=[*OPTIONS, *more])


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium without WebGPU: `navigator.gpu` is there, an adapter is not."""
    with launched(playwright) as running:
        yield running


@pytest.fixture(scope="session")
def gpu_browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium with WebGPU on the CPU (SwiftShader)."""
    with launched(playwright, WEBGPU) as running:
        yield running


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """The test fails when a page complained of what it did not allow."""
    found = Complaints()
    yield found
    assert found.unexpected() == []


def opened(browser: Browser, server: TestServer, complaints: Complaints) -> Iterator[Page]:
    with browser.new_context() as context:
        complaints.listen(context)
        page = context.new_page()
        page.goto(server.url("/"))
        yield page


@pytest.fixture
def page(browser: Browser, server: TestServer, complaints: Complaints) -> Iterator[Page]:
    """An empty page of the server, in a context of its own; it imports the package from /dist/index.js."""
    yield from opened(browser, server, complaints)


@pytest.fixture
def gpu_page(gpu_browser: Browser, server: TestServer, complaints: Complaints) -> Iterator[Page]:
    """The same where WebGPU works."""
    yield from opened(gpu_browser, server, complaints)


@pytest.fixture
def broken(complaints: Complaints) -> None:
    """Chromium writes each broken connection to the console."""
    complaints.allow("net::ERR_")
    complaints.allow("the server responded with a status of")


@pytest.fixture
def visitor(browser: Browser, server: TestServer, complaints: Complaints) -> Iterator[Visitor]:
    """A new visitor with an empty cache; arguments are those of `Browser.new_context`."""
    contexts: list[BrowserContext] = []

    def come(script: str = "", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        complaints.listen(context)
        if script:
            context.add_init_script(script)
        return context.new_page()

    yield come
    for context in contexts:
        context.close()
