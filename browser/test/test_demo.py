"""The demo page: the journey of a visitor, by pointer and by keys, with little and with nothing at hand."""

from __future__ import annotations

import base64
import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import FOLDERS, ROOT, Complaints, Visitor
from demo import SNAPSHOT, bytes_sent, ready_offline, visit
from playwright.sync_api import Page, Route, expect
from server import TestServer

AXE = ROOT / "browser" / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = (320, 360, 768, 1280)


def test_the_first_result_is_there_after_less_than_200_000_bytes(visitor: Visitor, server: TestServer) -> None:
    page = visitor(SNAPSHOT)
    visit(page, server)
    expect(page.locator("#digit")).to_have_text("3")
    sent = {path: bytes_sent(server, path) for path in ["/demo/", *page.evaluate("window.untilFirst")]}
    assert "/demo/models/lenet-5.dcz" in sent
    assert sum(sent.values()) < 200_000, sent
    shown = page.locator("#page-bytes").inner_text()
    kilobytes = float(shown.removesuffix(" kB"))
    # the page counts headers, too
    assert sum(sent.values()) <= 1000 * (kilobytes + 0.5) < 200_000


def test_every_example_is_read_right_and_said(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    for digit in range(10):
        page.get_by_role("button", name=f"Example of a {digit}").click()
        expect(page.locator("#digit")).to_have_text(str(digit))
        expect(page.locator("#spoken")).to_contain_text(f"LeNet-5 reads {digit}")
        expect(page.locator("#bars .best")).to_contain_text(re.compile(rf"{digit}: \d[\d.]* %"))


def test_a_digit_is_drawn_by_pointer_anywhere_on_the_area(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#certainty")).to_have_text("Draw something.")
    draw_small_seven(page)
    expect(page.locator("#digit")).to_have_text("7")


def draw_small_seven(page: Page) -> None:
    """A 7 in the corner of the drawing area."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    at = [(0.1, 0.1), (0.3, 0.1), (0.18, 0.45)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in at]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=12)
    page.mouse.up()


def test_the_first_stroke_takes_the_place_of_an_example(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    draw_small_seven(page)
    expect(page.locator("#digit")).to_have_text("7")
    page.get_by_role("button", name="Example of a 8").click()
    draw_small_seven(page)
    expect(page.locator("#digit")).to_have_text("7")


def test_what_is_drawn_before_the_network_is_there_is_read_then(
    visitor: Visitor, server: TestServer, complaints: Complaints
) -> None:
    complaints.allow("blocked by Playwright")
    page = visitor(service_workers="block")
    held: list[Route] = []
    page.route("**/lenet-5.dcz", lambda route: held.append(route))
    page.goto(f"http://127.0.0.1:{server.server_port}/demo/")
    expect(page.locator("#certainty")).to_have_text("fetching the network…")
    expect(page.locator("#bars li")).to_have_count(10)
    draw_small_seven(page)
    held[0].continue_()
    expect(page.locator("#page-bytes")).not_to_have_text("…")
    expect(page.locator("#digit")).to_have_text("7")


def test_keys_alone_draw_a_digit_and_reach_everything(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the drawing area")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#pad")).to_be_focused()
    page.keyboard.press("Delete")
    expect(page.locator("#spoken")).to_have_text("Cleared.")
    page.keyboard.press("Space")
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#spoken")).to_contain_text("LeNet-5 reads 1")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel"))
    assert {"clear", "Example of a 9", "layers-start", "opener-file", "opener-example"} <= reached


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(visitor: Visitor, server: TestServer, width: int) -> None:
    page = visitor(viewport={"width": width, "height": 800})
    visit(page, server)
    page.get_by_role("button", name="Open the LeNet-5").click()
    expect(page.locator("#opener-table tbody tr")).to_have_count(8)
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(visitor: Visitor, server: TestServer, scheme: str) -> None:
    page = visitor(color_scheme=scheme, viewport={"width": 360, "height": 800})
    visit(page, server)
    page.get_by_role("button", name="Open the LeNet-5").click()
    expect(page.locator("#opener-result")).to_be_visible()
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")
    assert found["passes"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []


def test_without_a_network_the_page_opens_again_and_reads(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    ready_offline(page)
    page.context.set_offline(True)
    visit(page, server)
    expect(page.locator("#digit")).to_have_text("3")
    page.get_by_role("button", name="Example of a 8").click()
    expect(page.locator("#digit")).to_have_text("8")


def test_without_webassembly_the_page_says_so_and_stays(visitor: Visitor, server: TestServer) -> None:
    page = visitor("delete globalThis.WebAssembly")
    page.goto(f"http://127.0.0.1:{server.server_port}/demo/")
    expect(page.get_by_role("alert")).to_contain_text("WebAssembly")
    expect(page.locator("#how table tbody tr")).to_have_count(4)
    expect(page.locator("#layers-start")).to_be_disabled()


def test_without_its_network_the_page_says_what_is_missing(
    visitor: Visitor, server: TestServer, complaints: Complaints
) -> None:
    complaints.allow("404|blocked by Playwright")
    page = visitor(service_workers="block")
    page.route("**/lenet-5.dcz", lambda route: route.fulfill(status=404, body="no"))
    page.goto(f"http://127.0.0.1:{server.server_port}/demo/")
    expect(page.get_by_role("alert")).to_contain_text("status 404")
    expect(page.locator("#layers-start")).to_be_enabled()


def test_a_browser_without_room_says_that_it_keeps_no_copy(
    visitor: Visitor, server: TestServer, complaints: Complaints
) -> None:
    complaints.allow("QuotaExceededError|quota")
    page = visitor()
    origin = f"http://127.0.0.1:{server.server_port}"
    page.context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": 1000})
    visit(page, server)
    expect(page.locator("#offline")).to_contain_text("keeps no copy")


KEPT = """async () => {
    const cache = await caches.open("deepcompression-demo");
    return (await cache.keys()).map(({url}) => new URL(url).pathname);
}"""
UPDATE = """async () => {
    const registration = await navigator.serviceWorker.ready;
    await registration.update();
    const { installing } = registration;
    await new Promise((resolve) => { installing.onstatechange = resolve; });
    return installing.state;
}"""


def test_a_new_version_of_the_page_comes_with_the_next_load(visitor: Visitor, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(FOLDERS["/demo/"], site, ignore=shutil.ignore_patterns("ort", "alexnet*", "ddddocr*"))
    with TestServer({"/demo/": site}).start() as server:
        page = visitor()
        visit(page, server)
        ready_offline(page)
        kept = page.evaluate(KEPT)
        old = (site / "index.html").read_bytes()
        new = old.replace(b"Draw a digit", b"Draw any digit")
        (site / "index.html").write_bytes(new)
        files = (site / "files.js").read_text()
        (site / "files.js").write_text(files.replace(hashed(old), hashed(new)))
        assert page.evaluate(UPDATE) == "installed"
        # not under the page that is open
        expect(page.locator("#digits-title")).to_have_text("Draw a digit")
        page.reload()
        expect(page.locator("#digits-title")).to_have_text("Draw any digit")
        page.wait_for_function(f"async () => (await ({KEPT})()).length === {len(kept)}")
        server.shutdown()


def hashed(content: bytes) -> str:
    return base64.b64encode(sha256(content).digest()).decode()
