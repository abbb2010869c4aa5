"""The package in Chromium over bad networks: broken, slow, without ranges, lying, and left in the middle."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from conftest import FOLDERS, Complaints
from playwright.sync_api import Page
from server import TestServer

# larger than what the first request asks for
FILE = "/data/medium.dcz"
SIZE = (FOLDERS["/data/"] / "medium.dcz").stat().st_size
WORKER = pytest.mark.parametrize("worker", [False, True], ids=["page", "worker"])
# for what a worker does by the same code, and takes seconds to repeat
LATER_WORKER = pytest.mark.parametrize(
    "worker", [False, pytest.param(True, marks=pytest.mark.long)], ids=["page", "worker"]
)

# opens an address and reads all of its tensors: their digests and what was seen on the way, or the error
READ = """async ([url, worker, options]) => {
    const dcz = await import("/dist/index.js");
    const progress = [];
    const tensors = {};
    let file;
    try {
        const onProgress = ({loaded, total}) => progress.push([loaded, total ?? null]);
        const all = {retryDelay: 10, ...options, onProgress};
        file = await (worker ? dcz.openInWorker(url, all) : dcz.open(url, all));
        for await (const {name, data} of file.tensors()) {
            const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
            tensors[name] = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
        }
        return {tensors, progress};
    } catch (error) {
        const own = error instanceof dcz.DczError;
        return {code: own ? error.code : "not ours", message: `${error.name}: ${error.message}`, tensors, progress};
    } finally {
        file?.close();
    }
}"""


def digests() -> dict[str, str]:
    facts = json.loads((FOLDERS["/data/"] / "medium.json").read_text())
    content = (FOLDERS["/data/"] / "medium.bin").read_bytes()
    return {
        each["name"]: hashlib.sha256(content[each["offset"] :][: each["bytes"]]).hexdigest()
        for each in facts["tensors"]
    }


def read(page: Page, url: str, worker: bool = False, **options: object) -> dict[str, Any]:
    return page.evaluate(READ, [url, worker, options])


def still_works(server: TestServer, page: Page) -> None:
    assert read(page, server.url(FILE))["tensors"] == digests()


@LATER_WORKER
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"ranges": "no"},
        {"chunked": 1},
        {"chunked": 1, "ranges": "no"},
        {"etag": "no"},
        {"rate": 500_000},
    ],
    ids=str,
)
def test_every_honest_server_gives_the_file_once(
    server: TestServer, page: Page, how: dict[str, Any], worker: bool
) -> None:
    url = server.url(FILE, **how)
    found = read(page, url, worker)
    assert found.get("message") is None
    assert found["tensors"] == digests()
    loaded = [each[0] for each in found["progress"]]
    assert loaded == sorted(loaded)
    assert found["progress"][-1] == [SIZE, SIZE]
    assert sum(each.sent for each in server.ended(url)) <= SIZE + 1000


@WORKER
def test_a_length_of_packed_bytes_is_not_taken_for_that_of_the_file(
    server: TestServer, page: Page, worker: bool
) -> None:
    url = server.url(FILE, gzip=1)
    # browsers ask for parts without packing
    found = read(page, url, worker, ranges=False)
    assert found["tensors"] == digests()
    assert found["progress"][-1] == [SIZE, SIZE]
    assert server.ended(url)[0].sent != SIZE


@LATER_WORKER
@pytest.mark.parametrize(
    "how",
    [
        {"cut": 30_000},
        {"cut": 60_000, "cuts": 3},
        {"cut": 50_000, "cuts": -1},
        {"cut": 150_000, "ranges": "no"},
        {"cut": 150_000, "chunked": 1},
    ],
    ids=str,
)
def test_a_broken_connection_resumes(
    server: TestServer, page: Page, broken: None, how: dict[str, Any], worker: bool
) -> None:
    url = server.url(FILE, **how)
    found = read(page, url, worker)
    assert found.get("message") is None
    assert found["tensors"] == digests()
    assert len(server.ended(url)) > 1


@WORKER
def test_a_resumed_file_costs_little_more_than_one_download(
    server: TestServer, page: Page, broken: None, worker: bool
) -> None:
    url = server.url(FILE, cut=80_000, cuts=2)
    assert read(page, url, worker)["tensors"] == digests()
    requests = server.ended(url)
    assert [each.end for each in requests].count("cut") == 2
    # what had arrived and was not yet read is lost with its connection
    assert sum(each.sent for each in requests) <= SIZE + 2 * 2**16


@WORKER
def test_a_connection_that_never_comes_back_is_an_error(
    server: TestServer, page: Page, broken: None, worker: bool
) -> None:
    url = server.url(FILE, cut=0, cuts=-1)
    found = read(page, url, worker, retries=2)
    assert found["code"] == "network"
    assert len(server.ended(url)) == 3
    still_works(server, page)


@pytest.mark.parametrize("lie", ["total", "few", "many", "later", "silent", "none", "nonsense"])
@LATER_WORKER
def test_no_lie_of_a_server_is_believed(server: TestServer, page: Page, broken: None, lie: str, worker: bool) -> None:
    found = read(page, server.url(FILE, lie=lie), worker, retries=1)
    right = digests()
    assert found["tensors"].items() <= right.items()
    if found["tensors"] != right:
        assert found["code"] in ("server", "network", "magic", "checksum", "truncated")
    still_works(server, page)


def test_a_file_that_changes_in_the_middle_is_noticed(server: TestServer, page: Page, broken: None) -> None:
    found = read(page, server.url(FILE, etag="changes"))
    assert found["code"] == "server"
    still_works(server, page)


@WORKER
def test_a_damaged_byte_is_found_and_named(server: TestServer, page: Page, worker: bool) -> None:
    found = read(page, server.url(FILE, damage=SIZE - 3000), worker)
    assert found["code"] == "checksum"
    assert "layer5" in found["message"]
    assert found["tensors"].items() < digests().items()
    still_works(server, page)


@pytest.mark.parametrize(("at", "code"), [(0, "magic"), (4, "version"), (60, "checksum")])
def test_damage_of_the_head_is_found_when_a_file_is_opened(server: TestServer, page: Page, at: int, code: str) -> None:
    found = read(page, server.url(FILE, damage=at))
    assert (found["code"], found["tensors"]) == (code, {})


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_page_of_html_in_the_place_of_a_file_is_an_error_with_its_status(
    server: TestServer, page: Page, broken: None, status: int
) -> None:
    found = read(page, server.url(FILE, status=status), retries=1)
    assert found["code"] in ("server", "network")
    assert str(status) in found["message"]


@pytest.mark.parametrize("cors", ["yes", "exposed"])
def test_another_origin_may_serve_the_file(server: TestServer, page: Page, cors: str) -> None:
    url = server.url(FILE, cors=cors).replace("127.0.0.1", "localhost")
    found = read(page, url)
    assert found.get("message") is None
    assert found["tensors"] == digests()


def test_another_origin_that_does_not_allow_it_is_a_network_error(
    server: TestServer, page: Page, complaints: Complaints
) -> None:
    complaints.allow("CORS policy")
    complaints.allow("net::ERR_FAILED")
    found = read(page, server.url(FILE).replace("127.0.0.1", "localhost"), retries=0)
    assert found["code"] == "network"


# reads all tensors, until `stop` ends it; `done` is the code of the error
BEGIN = """([url, worker]) => {
    globalThis.stop = new AbortController();
    globalThis.done = import("/dist/index.js").then(async (dcz) => {
        const file = await (worker ? dcz.openInWorker : dcz.open)(url, {signal: stop.signal});
        for await (const _ of file.tensors()) ;
    }).catch((error) => error.code);
    return null;
}"""


@WORKER
def test_a_signal_ends_the_work_and_the_connection(server: TestServer, page: Page, worker: bool) -> None:
    url = server.url(FILE, stall=100_000)
    page.evaluate(BEGIN, [url, worker])
    server.stalled(url)
    assert page.evaluate("() => { stop.abort(); return done; }") == "aborted"
    assert server.ended(url)[-1].end == "gone"
    still_works(server, page)


@WORKER
def test_a_closed_tab_ends_the_connection(server: TestServer, page: Page, worker: bool) -> None:
    url = server.url(FILE, stall=100_000)
    page.evaluate(BEGIN, [url, worker])
    server.stalled(url)
    page.close()
    assert server.ended(url)[-1].end == "gone"
