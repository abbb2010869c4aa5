"""Networks on Chromium's GPU, and a GPU that goes away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import WEBGPU, Complaints, launched, opened
from playwright.sync_api import Page, Playwright
from server import TestServer

LOAD = """
const { open, Sequence, conv2d, maxPool2d, flatten, linear, relu } = await import("/dist/index.js");
const layers = [
  conv2d("conv1"), maxPool2d(2), conv2d("conv2"), maxPool2d(2), flatten(), linear("fc1"), relu(), linear("fc2"),
];
const load = async (options) => {
  const file = await open("/networks/lenet-5.dcz");
  const net = await Sequence.load(file, layers, { inputShape: [1, 28, 28], ...options });
  file.close();
  return net;
};
const x = Float32Array.from({ length: 784 }, (_, i) => Math.sin(i));
const apart = (y, z) => Math.max(...y.map((one, i) => Math.abs(one - z[i]))) / Math.max(...z.map(Math.abs));
"""


def test_a_network_on_the_gpu_gives_what_webassembly_gives(gpu_page: Page) -> None:
    found = gpu_page.evaluate(f"""async () => {{
        {LOAD}
        const [onGpu, onCpu] = [await load({{ device: "auto" }}), await load({{ device: "wasm" }})];
        const difference = apart(await onGpu.run(x), await onCpu.run(x));
        const kernels = onGpu.explain().filter(({{ shape }}) => shape).map(({{ kernel }}) => kernel);
        return {{ device: onGpu.device, difference, kernels }};
    }}""")
    assert found["device"] == "webgpu"
    assert found["difference"] < 1e-5
    assert set(found["kernels"]) == {"webgpu, packed"}


@pytest.fixture
def own_page(playwright: Playwright, server: TestServer, complaints: Complaints) -> Iterator[Page]:
    """A page of a browser of its own, whose GPU no other test needs."""
    with launched(playwright, WEBGPU) as browser:
        yield from opened(browser, server, complaints)


def test_a_network_goes_on_in_webassembly_when_the_gpu_process_dies(own_page: Page, complaints: Complaints) -> None:
    complaints.allow("external Instance reference no longer exists")
    own_page.evaluate(f"""async () => {{
        {LOAD}
        window.reasons = [];
        window.net = await load({{ device: "auto", onFallback: (reason) => window.reasons.push(reason) }});
        window.x = x;
        window.apart = apart;
        window.before = await net.run(x);
    }}""")
    browser = own_page.context.browser
    assert browser is not None
    browser.new_browser_cdp_session().send("Browser.crashGpuProcess")
    found = own_page.evaluate("""async () => {
        const device = net.device;
        const difference = apart(await net.run(x), before);
        return { device, difference, after: net.device, reasons };
    }""")
    assert found["device"] == "webgpu"
    assert found["difference"] < 1e-5
    assert found["after"] == "wasm"
    assert len(found["reasons"]) == 1
