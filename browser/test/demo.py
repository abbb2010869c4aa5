"""The demo page as a visitor opens it: its address, what it has asked the server for, and where things are on it."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from server import TestServer

# all layers on a GPU of software, on a busy machine
PATIENCE_MS = 180_000
# the addresses that were asked for when the first digit had been read
SNAPSHOT = """
addEventListener("DOMContentLoaded", () => {
    const bytes = document.getElementById("page-bytes");
    new MutationObserver((_, observer) => {
        observer.disconnect();
        window.untilFirst = performance.getEntriesByType("resource").map(({name}) => new URL(name).pathname);
    }).observe(bytes, {childList: true});
});
"""


def visit(page: Page, server: TestServer, path: str = "/demo/") -> None:
    """Opens the page and waits for its first result, and for the other sections."""
    page.goto(f"http://127.0.0.1:{server.server_port}{path}")
    expect(page.locator("#page-bytes")).not_to_have_text("…")
    expect(page.locator("#opener-file")).to_be_enabled()


def ready_offline(page: Page) -> None:
    """Waits until the browser holds a copy."""
    expect(page.locator("#offline")).to_contain_text("works offline")


def bytes_sent(server: TestServer, path: str) -> int:
    """Bytes of the body of the last answer for a path."""
    return server.requests(f"http://x{path}")[-1].sent
