"""The server of these tests is honest where it should be, and lies as its address says."""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

import pytest
from conftest import ROOT
from playwright.sync_api import Page
from server import TestServer

LENET = "/networks/lenet-5.dcz"
CONTENT = (ROOT / "reproduce" / "results" / "lenet-5.dcz").read_bytes()
SIZE = len(CONTENT)


def get(url: str, asked: str | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    if asked is not None:
        headers["Range"] = asked
    connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
    answer = connection.getresponse()
    try:
        body = answer.read()
    except http.client.IncompleteRead as error:
        body = error.partial
    connection.close()
    return answer.status, dict(answer.headers), body


@pytest.mark.parametrize(("asked", "first", "last"), [("bytes=100-199", 100, 199), ("bytes=11000-", 11000, SIZE - 1)])
def test_ranges_are_answered_with_the_bytes_asked(server: TestServer, asked: str, first: int, last: int) -> None:
    url = server.url(LENET)
    status, headers, body = get(url, asked)
    assert (status, headers["Content-Range"]) == (206, f"bytes {first}-{last}/{SIZE}")
    assert body == CONTENT[first : last + 1]
    (request,) = server.ended(url)
    assert (request.range, request.sent, request.end) == (asked, len(body), "whole")


def test_a_range_behind_the_end_is_refused(server: TestServer) -> None:
    status, headers, _ = get(server.url(LENET), f"bytes={SIZE}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{SIZE}")


def test_a_part_of_another_file_is_not_given(server: TestServer) -> None:
    url = server.url(LENET)
    etag = get(url)[1]["ETag"]
    assert get(url, "bytes=1-2", **{"If-Range": etag})[0] == 206
    assert get(url, "bytes=1-2", **{"If-Range": '"another"'})[0] == 200


@pytest.mark.parametrize(
    ("lie", "said", "body"),
    [
        ("total", f"bytes 10-19/{SIZE + 1000}", CONTENT[10:20]),
        ("few", f"bytes 10-19/{SIZE}", CONTENT[10:19]),
        ("many", f"bytes 10-19/{SIZE}", CONTENT[10:27]),
        ("later", f"bytes 11-19/{SIZE}", CONTENT[11:20]),
        ("silent", f"bytes 10-19/{SIZE}", CONTENT[9:19]),
        ("none", None, CONTENT[10:20]),
        ("nonsense", "bytes of some kind", CONTENT[10:20]),
    ],
)
def test_each_lie_is_told(server: TestServer, lie: str, said: str | None, body: bytes) -> None:
    status, headers, found = get(server.url(LENET, lie=lie), "bytes=10-19")
    assert (status, headers.get("Content-Range"), found) == (206, said, body)


def test_without_ranges_every_answer_is_the_whole_file(server: TestServer) -> None:
    status, headers, body = get(server.url(LENET, ranges="no"), "bytes=10-19")
    assert (status, body, headers.get("Accept-Ranges")) == (200, CONTENT, None)


def test_a_body_is_cut_as_often_as_asked(server: TestServer) -> None:
    url = server.url(LENET, cut=1000, cuts=2)
    assert [len(get(url)[2]) for _ in range(3)] == [1000, 1000, SIZE]
    assert [each.end for each in server.ended(url)] == ["cut", "cut", "whole"]


def test_a_byte_is_damaged_wherever_a_range_begins(server: TestServer) -> None:
    url = server.url(LENET, damage=500)
    wrong = bytes([CONTENT[500] ^ 1])
    assert get(url)[2] == CONTENT[:500] + wrong + CONTENT[501:]
    assert get(url, "bytes=499-501")[2] == CONTENT[499:500] + wrong + CONTENT[501:502]


def test_a_rate_is_kept(server: TestServer) -> None:
    began = time.monotonic()
    assert get(server.url(LENET, rate=50_000))[2] == CONTENT
    assert 0.2 <= time.monotonic() - began <= 2


def test_chunks_need_no_length(server: TestServer) -> None:
    _, headers, body = get(server.url(LENET, chunked=1))
    assert (body, headers.get("Content-Length")) == (CONTENT, None)


def test_an_etag_changes_with_each_answer(server: TestServer) -> None:
    url = server.url(LENET, etag="changes")
    assert get(url)[1]["ETag"] != get(url)[1]["ETag"]


def test_nothing_outside_of_the_folders_is_served(server: TestServer) -> None:
    assert get(server.url("/networks/../../README.md"))[0] == 404


def test_a_page_that_goes_is_noticed(server: TestServer, page: Page) -> None:
    url = server.url(LENET, stall=1000)
    page.evaluate(
        """async (url) => {
            const stop = new AbortController();
            const reader = (await fetch(url, {signal: stop.signal})).body.getReader();
            await reader.read();
            stop.abort();
        }""",
        url,
    )
    assert [(each.sent, each.end) for each in server.ended(url)] == [(1000, "gone")]


def test_a_policy_without_wasm_forbids_it(server: TestServer, page: Page) -> None:
    page.goto(server.url("/", csp="script-src 'self'"))
    assert "CompileError" in page.evaluate(
        "WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).catch(String)"
    )
