"""The package in Chromium where a page lacks what it needs: WebAssembly, workers, memory, a lax policy."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page
from server import TestServer
from test_network import FILE, WORKER, digests, read, still_works

STRICT = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; worker-src 'self'; img-src data:"
)


@WORKER
def test_a_strict_policy_that_allows_wasm_is_enough(server: TestServer, page: Page, worker: bool) -> None:
    page.goto(server.url("/", csp=STRICT))
    assert read(page, server.url(FILE), worker).get("tensors") == digests()


def test_a_policy_that_forbids_wasm_is_named(server: TestServer, page: Page) -> None:
    page.goto(server.url("/", csp="script-src 'self'"))
    found = read(page, server.url(FILE))
    assert found["code"] == "unsupported"
    assert "wasm-unsafe-eval" in found["message"]


def test_a_page_without_webassembly_gets_an_error(server: TestServer, page: Page) -> None:
    page.add_init_script("delete globalThis.WebAssembly")
    page.goto(server.url("/"))
    found = read(page, server.url(FILE))
    assert found["code"] == "unsupported"
    assert "WebAssembly" in found["message"]


def test_a_page_without_workers_gets_an_error_and_may_open_the_file_itself(server: TestServer, page: Page) -> None:
    page.add_init_script("delete globalThis.Worker")
    page.goto(server.url("/"))
    assert read(page, server.url(FILE), True)["code"] == "unsupported"
    still_works(server, page)


def test_a_decoder_that_is_not_there_is_named(server: TestServer, page: Page, broken: None) -> None:
    page.route("**/decode.wasm", lambda route: route.fulfill(status=404, body="not here"))
    found = read(page, server.url(FILE))
    assert found["code"] == "network"
    assert "decode.wasm" in found["message"]


# the first tensor, then the huge one, then the first once more
CLAIM = """async ([url, worker, refusal]) => {
    const dcz = await import("/dist/index.js");
    if (refusal) {
        const Real = ArrayBuffer;
        globalThis.ArrayBuffer = new Proxy(Real, {
            construct(of, [bytes, ...rest]) {
                if (bytes > 1e9) throw new RangeError("Array buffer allocation failed");
                return Reflect.construct(of, [bytes, ...rest]);
            },
        });
    }
    const file = await (worker ? dcz.openInWorker : dcz.open)(url);
    const first = async () => (await file.tensor("first")).data.join();
    const seen = [await first()];
    try {
        seen.push((await file.tensor("huge")).data.length);
    } catch (error) {
        seen.push(error instanceof dcz.DczError ? error.code : String(error), error.message);
    }
    seen.push(await first());
    file.close();
    return seen;
}"""
FIRST = "0,0,0,0,0,1.5,0,0"


def claim(server: TestServer, page: Page, worker: bool, refusal: bool) -> list[Any]:
    return page.evaluate(CLAIM, [server.url("/data/claim.dcz"), worker, refusal])


def test_memory_that_is_refused_is_an_error_with_the_bytes_and_the_file_stays_open(
    server: TestServer, page: Page
) -> None:
    first, code, message, again = claim(server, page, False, True)
    assert (first, code, again) == (FIRST, "memory", FIRST)
    assert "3200000000" in message.replace(",", "")


SLICES = """async (url) => {
    const dcz = await import("/dist/index.js");
    const file = await dcz.open(url);
    let bytes = 0;
    let most = 0;
    for await (const slice of file.slices("huge")) {
        bytes += slice.length;
        most = Math.max(most, file.memoryBytes);
        if (bytes > 2e7) break;
    }
    const first = (await file.tensor("first")).data.join();
    file.close();
    return [bytes > 2e7, most, first];
}"""


def test_a_huge_tensor_comes_in_slices_from_little_memory(server: TestServer, page: Page) -> None:
    enough, most, first = page.evaluate(SLICES, server.url("/data/claim.dcz"))
    assert enough
    assert most < 2_000_000
    assert first == FIRST


REFUSED_BY_WASM = """async (url) => {
    const dcz = await import("/dist/index.js");
    const grow = WebAssembly.Memory.prototype.grow;
    const file = await dcz.open(url);
    WebAssembly.Memory.prototype.grow = () => {
        throw new RangeError("WebAssembly.Memory.grow(): Maximum memory size exceeded");
    };
    const codes = [];
    for (const name of file.entries.keys())
        await file.tensor(name).then(() => codes.push("fine"), (error) => codes.push(error.code ?? String(error)));
    WebAssembly.Memory.prototype.grow = grow;
    const again = [];
    for await (const tensor of file.tensors()) again.push(tensor.name);
    file.close();
    return [codes, again.length];
}"""


@pytest.mark.long
def test_memory_that_webassembly_refuses_is_an_error_and_the_file_stays_open(server: TestServer, page: Page) -> None:
    codes, again = page.evaluate(REFUSED_BY_WASM, server.url("/networks/alexnet.dcz"))
    assert "memory" in codes
    assert set(codes) <= {"fine", "memory"}
    assert again == 16
