"""The demo's section of AlexNet's layers: all figures, on each device, with little memory, ranges or network."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT, WEBGPU, Complaints, Visitor, launched
from demo import PATIENCE_MS, ready_offline, visit
from playwright.sync_api import Browser, Page, Playwright, Route, expect
from server import TestServer


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
    change = re.search(r"at most (\S+) %", page.locator("#layers-status").inner_text())
    assert change is not None
    assert float(change[1]) < 1e-3


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
    page.locator("#layers-cancel").press("Enter")
    expect(page.locator("#layers-status")).to_contain_text("Cancelled")
    expect(page.locator("#layers-cancel")).to_be_hidden()
    expect(page.locator("#layers-start")).to_be_focused()
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
    expect(page.locator("#layers-status")).to_contain_text("WebGPU finds no GPU")
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
def test_a_gpu_that_goes_away_in_the_middle_is_told_of(
    playwright: Playwright, server: TestServer, complaints: Complaints
) -> None:
    # a browser of its own, for its GPU is lost
    with launched(playwright, WEBGPU) as browser, browser.new_context() as context:
        complaints.listen(context)
        page = context.new_page()
        visit(page, server)
        page.locator("#layers-start").click()
        expect(page.locator("#layers-status")).to_have_text("Running fc7 on the GPU", timeout=PATIENCE_MS)
        browser.new_browser_cdp_session().send("Browser.crashGpuProcess")
        check_done(page)
        expect(page.locator("#layers-status")).to_contain_text("partly on the CPU alone: the GPU went away")
        expect(page.locator("#layers-tables table")).to_have_count(3)


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
    expect(page.locator("#link-measured")).to_contain_text("yours")
    page.context.set_offline(True)
    visit(page, server)
    page.locator("#layers-start").click()
    check_layers(page, ["CPU"], layers=1)
    expect(page.locator("#link-measured")).to_contain_text("a copy kept here")
