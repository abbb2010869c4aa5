"""200 MB over a slow connection: tensors long before the end, a page that answers, and little memory."""

from __future__ import annotations

import pytest
from conftest import FOLDERS
from playwright.sync_api import Page
from server import TestServer
from test_network import WORKER

TENSORS, TENSOR_BYTES = 25, 8_000_000
RATE = 20_000_000

# [milliseconds, name] of each tensor, the progress, the longest pause of a timer, and bytes held
FOLLOW = """async ([url, worker]) => {
    const dcz = await import("/dist/index.js");
    const began = performance.now();
    const progress = [];
    const tensors = [];
    let pause = 0;
    let last = began;
    const timer = setInterval(() => {
        pause = Math.max(pause, performance.now() - last);
        last = performance.now();
    }, 10);
    const onProgress = ({loaded, total}) => progress.push([loaded, total ?? null]);
    const file = await (worker ? dcz.openInWorker : dcz.open)(url, {onProgress});
    const live = [];
    let held = 0;
    for await (const {name, data} of file.tensors()) {
        tensors.push([performance.now() - began, name, data.length]);
        held = Math.max(held, file.memoryBytes);
        // of the page and its worker, without garbage
        if (tensors.length % 5 === 0) live.push((await performance.measureUserAgentSpecificMemory()).bytes);
    }
    clearInterval(timer);
    file.close();
    return {tensors, progress, pause, held, live, whole: performance.now() - began};
}"""


@pytest.mark.long
@WORKER
def test_200_mb_arrive_tensor_by_tensor_in_little_memory(server: TestServer, page: Page, worker: bool) -> None:
    url = server.url("/data/big.dcz", rate=RATE)
    page.goto(server.url("/", isolated=1))
    found = page.evaluate(FOLLOW, [url, worker])
    names = [name for _, name, _ in found["tensors"]]
    assert names == [f"layer{number}" for number in range(TENSORS)]
    assert {length for _, _, length in found["tensors"]} == {TENSOR_BYTES}
    # evenly: each within a second of the moment when its last byte can have arrived
    for number, (ms, _, _) in enumerate(found["tensors"], 1):
        assert ms < 1000 * number * TENSOR_BYTES / RATE + 1000
    loaded = [each for each, _ in found["progress"]]
    assert loaded == sorted(loaded)
    assert len(loaded) > 100
    size = (FOLDERS["/data/"] / "big.dcz").stat().st_size
    assert found["progress"][-1] == [size, size]
    assert found["pause"] < 500
    assert found["held"] < 4 * TENSOR_BYTES
    assert max(found["live"]) < 4 * TENSOR_BYTES
    assert sum(each.sent for each in server.ended(url)) <= size + 1000
