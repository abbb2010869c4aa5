"""The demo page: the journey of a visitor, by pointer and by keys, with little and with nothing at hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Complaints
from demo import SNAPSHOT, bytes_sent, ready_offline, visit
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from server import TestServer

AXE = ROOT / "browser" / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = (320, 360, 768, 1280)
# all layers on a GPU of software, on a busy machine
PATIENCE_MS = 180_000

Visitor = Callable[..., Page]


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
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    # a small 7 in the corner
    at = [(0.1, 0.1), (0.3, 0.1), (0.18, 0.45)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in at]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=12)
    page.mouse.up()
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


# what a visitor drops on the page, and a part of the words that it meets
BAD_FILES = {
    "notes.txt": (b"A text that is no network.", "cannot be opened"),
    "empty.dcz": (b"", "cannot be opened"),
    "half.dcz": ((ROOT / "reproduce/results/lenet-5.dcz").read_bytes()[:5000], "ends"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_meets_clear_words_and_the_next_one_opens(visitor: Visitor, server: TestServer, name: str) -> None:
    content, words = BAD_FILES[name]
    page = visitor()
    visit(page, server)
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.locator("#opener-file").set_input_files(file)
    expect(page.locator("#opener-status")).to_contain_text(words)
    expect(page.locator("#opener-result")).to_be_hidden()
    page.locator("#opener-file").set_input_files(ROOT / "reproduce/results/lenet-5.dcz")
    expect(page.locator("#opener-status")).to_contain_text("8 tensors in 11,173 bytes")


# what a browser does when a file is let go over the page
DROP = """(name) => {
    const files = new DataTransfer();
    files.items.add(new File(["no network at all"], name));
    dispatchEvent(new DragEvent("drop", {dataTransfer: files, cancelable: true, bubbles: true}));
}"""


def test_a_file_may_be_dropped_anywhere(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    page.evaluate(DROP, "song.mp3")
    expect(page.locator("#opener-status")).to_contain_text("song.mp3 cannot be opened")


def test_a_damaged_tensor_is_found_when_it_is_saved(visitor: Visitor, server: TestServer) -> None:
    content = bytearray((ROOT / "reproduce/results/lenet-5.dcz").read_bytes())
    content[-100] ^= 1
    page = visitor()
    visit(page, server)
    file = {"name": "damaged.dcz", "mimeType": "application/octet-stream", "buffer": bytes(content)}
    page.locator("#opener-file").set_input_files(file)
    expect(page.locator("#opener-table tbody tr")).to_have_count(8)
    page.get_by_role("button", name="Save as safetensors").click()
    expect(page.locator("#opener-status")).to_contain_text("checksum")


def test_a_file_is_saved_as_safetensors(visitor: Visitor, server: TestServer, tmp_path: Path) -> None:
    page = visitor()
    visit(page, server)
    page.get_by_role("button", name="Open the LeNet-5").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as safetensors").click()
    assert download.value.suggested_filename == "lenet-5.safetensors"
    content = download.value.path().read_bytes()
    header = int.from_bytes(content[:8], "little")
    assert b'"fc1.weight"' in content[8 : 8 + header]
    assert len(content) == 8 + header + 4 * 431_080


def check_layers(page: Page, devices: list[str], layers: int = 3) -> None:
    tables = page.locator("#layers-tables table")
    expect(tables).to_have_count(layers, timeout=PATIENCE_MS)
    for table in tables.all():
        heads = [each.inner_text().splitlines()[0] for each in table.locator("tbody th").all()]
        figures = ["First result", "One run", "Memory"]
        assert heads == ["Download", *(each for device in devices for each in (f"on the {device}", *figures))]
        cells = table.locator("tbody td")
        expect(cells).to_have_count(2 + 6 * len(devices))
        for cell in cells.all():
            assert re.match(r"[\d,.]+ (B|kB|MB|ms|s)", cell.inner_text()), cell.inner_text()


def check_done(page: Page) -> None:
    expect(page.locator("#layers-status")).to_contain_text("Done", timeout=PATIENCE_MS)
    change = re.search(r"at most (\S+) of", page.locator("#layers-status").inner_text())
    assert change is not None
    assert float(change[1]) < 1e-5


def test_a_layer_runs_dense_and_compressed_and_a_cancelled_run_may_begin_again(
    visitor: Visitor, server: TestServer
) -> None:
    page = visitor(viewport={"width": 320, "height": 800})
    visit(page, server)
    page.locator("#layers-start").click()
    check_layers(page, ["CPU"], layers=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    before = page.locator("#layers-tables").inner_text()
    page.get_by_label("10 Mbit/s").check()
    assert page.locator("#layers-tables").inner_text() != before
    page.locator("#layers-cancel").click()
    expect(page.locator("#layers-status")).to_contain_text("Cancelled")
    expect(page.locator("#layers-cancel")).to_be_hidden()
    page.locator("#layers-start").click()
    check_layers(page, ["CPU"], layers=1)


# gives a worker 12 MB for all, where fc8 takes 16.4 MB dense
LITTLE_MEMORY = """
const { grow } = WebAssembly.Memory.prototype;
WebAssembly.Memory.prototype.grow = function (pages) {
    if (this.buffer.byteLength + 65536 * pages > 12e6) throw new RangeError("out of memory");
    return grow.call(this, pages);
};
"""


def test_without_memory_for_dense_weights_the_compressed_run_alone(
    visitor: Visitor, server: TestServer, complaints: Complaints
) -> None:
    def little(route: Route) -> None:
        route.fulfill(body=LITTLE_MEMORY + route.fetch().text(), content_type="text/javascript")

    complaints.allow("blocked by Playwright")
    page = visitor(service_workers="block")
    page.context.route("**/layers-worker.js", little)
    visit(page, server)
    page.locator("#layers-start").click()
    expect(page.locator("#layers-tables table")).to_have_count(1, timeout=PATIENCE_MS)
    dense, compressed = page.locator("#layers-tables tr", has_text="One run").locator("td").all()
    expect(dense).to_contain_text("no memory for it")
    expect(compressed).to_contain_text("ms")


@pytest.mark.long
def test_layers_run_dense_and_compressed_on_the_cpu_alone(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    page.locator("#layers-start").click()
    check_layers(page, ["CPU"])
    check_done(page)
    expect(page.locator("#layers-status")).to_contain_text("WebGPU finds no adapter")
    address = f"http://127.0.0.1:{server.server_port}/demo/models/alexnet.dcz"
    asked = server.requests(address)
    assert {each.status for each in asked} == {206}
    parts = {each.range: each.sent for each in asked}
    whole = (ROOT / "reproduce/results/alexnet.dcz").stat().st_size
    assert 5_500_000 < sum(parts.values()) < whole


@pytest.mark.long
def test_layers_run_on_the_gpu_too(gpu_browser: Browser, server: TestServer, complaints: Complaints) -> None:
    with gpu_browser.new_context() as context:
        complaints.listen(context)
        page = context.new_page()
        visit(page, server)
        page.locator("#layers-start").click()
        check_layers(page, ["CPU", "GPU"])
        check_done(page)


@pytest.mark.long
def test_layers_come_from_a_server_without_ranges(visitor: Visitor, server: TestServer, complaints: Complaints) -> None:
    complaints.allow("blocked by Playwright")

    def whole(route: Route) -> None:
        headers = {name: value for name, value in route.request.headers.items() if name != "range"}
        route.continue_(headers=headers)

    page = visitor(service_workers="block")
    page.context.route("**/alexnet.dcz", whole)
    visit(page, server)
    page.locator("#layers-start").click()
    check_layers(page, ["CPU"])


def test_a_used_layer_runs_again_without_a_network(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    ready_offline(page)
    page.locator("#layers-start").click()
    check_layers(page, ["CPU"], layers=1)
    page.locator("#layers-cancel").click()
    page.context.set_offline(True)
    visit(page, server)
    page.locator("#layers-start").click()
    check_layers(page, ["CPU"], layers=1)


@pytest.fixture
def reader(visitor: Visitor, server: TestServer) -> Page:
    """The page with the model that reads text, at work."""
    if not (ROOT / "build/browser/site/models/ddddocr.json").exists():
        pytest.skip("the site was assembled without its model of text: see browser/scripts/site.mjs")
    page = visitor()
    visit(page, server)
    ready_offline(page)
    page.locator("#reader-start").click()
    expect(page.locator("#reader-status")).to_contain_text("Read in", timeout=PATIENCE_MS)
    return page


@pytest.mark.long
def test_text_is_read_out_of_pictures_again_without_a_network(reader: Page, server: TestServer) -> None:
    about = reader.evaluate("fetch('models/ddddocr.json').then((response) => response.json())")
    buttons = reader.locator("#reader-pictures button")
    for button, picture in zip(buttons.all(), about["pictures"], strict=True):
        button.click()
        expect(reader.locator("#reader-text")).to_have_text(picture["compressed"])
    reader.context.set_offline(True)
    visit(reader, server)
    reader.locator("#reader-start").click()
    expect(reader.locator("#reader-text")).to_have_text(about["pictures"][0]["compressed"], timeout=PATIENCE_MS)


@pytest.mark.long
def test_an_own_picture_is_read_and_a_bad_one_meets_clear_words(reader: Page) -> None:
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"no picture"}
    reader.locator("#reader-file").set_input_files(bad)
    expect(reader.locator("#reader-status")).to_contain_text("bad.png is no picture")
    reader.locator("#reader-file").set_input_files(ROOT / "build/browser/site/models/ddddocr-2.png")
    expect(reader.locator("#reader-status")).to_contain_text("Read in")
    expect(reader.locator("#reader-text")).not_to_be_empty()
