"""A server for tests, honest by default; the query of an address says how it fails: `/networks/x.dcz?cut=1000&cuts=2`.

ranges=no        answers every request with the whole file
lie=KIND         a 206 whose header or body is wrong; see ANSWERS
cut=N&cuts=K     closes the connection after N bytes of each of the first K bodies (once; K = -1: of all)
stall=N          sends N bytes of a body, then nothing until the client goes
rate=N           N bytes a second for each connection
chunked=1        no length is given
damage=N         the lowest bit of byte N of the file is wrong
gzip=1           a whole file is packed for clients that take it so
etag=changes     another ETag for each response; etag=no: none
status=N         answers with this status and a page of HTML
cors=yes         other origins may read; cors=exposed: Content-Range and ETag, too
csp=POLICY       the content security policy of a page
isolated=1       no page of another origin shares its process, so that it may measure its memory
key=TEXT         nothing: it makes an address of its own, with counts of its own

`python browser/test/server.py PORT [PREFIX=FOLDER]...` serves until it is killed; `/requests?of=ADDRESS` gives in JSON
all requests for an address so far.
"""

from __future__ import annotations

import gzip
import json
import mimetypes
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
PAGE = b'<!doctype html><html lang=en><meta charset=utf-8><title>test</title><link rel=icon href="data:,"><body></body>'
PIECE_BYTES = 1 << 16

# lie -> for the first and last byte asked and the size: the Content-Range, and first and last byte of the body
ANSWERS = {
    "": lambda first, last, size: (f"bytes {first}-{last}/{size}", first, last),
    "total": lambda first, last, size: (f"bytes {first}-{last}/{size + 1000}", first, last),
    "few": lambda first, last, size: (f"bytes {first}-{last}/{size}", first, last - 1),
    "many": lambda first, last, size: (f"bytes {first}-{last}/{size}", first, min(last + 7, size - 1)),
    "later": lambda first, last, size: (f"bytes {first + 1}-{last}/{size}", first + 1, last),
    "silent": lambda first, last, size: (f"bytes {first}-{last}/{size}", max(first - 1, 0), last - (first > 0)),
    "none": lambda first, last, size: ("", first, last),
    "nonsense": lambda first, last, size: ("bytes of some kind", first, last),
}


@dataclass
class Request:
    """One request for an address. `sent` counts bytes of the body; `end` is whole, cut, stalled, or gone (the client
    was); empty before.
    """

    method: str
    range: str | None
    status: int = 0
    sent: int = 0
    end: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TestServer

    def do_GET(self) -> None:  # the name that http.server asks for
        url = urlsplit(self.path)
        self.how = dict(parse_qsl(url.query))
        if url.path == "/requests":
            content = json.dumps([asdict(each) for each in self.server.requests(self.how["of"])]).encode()
            self.whole(content, "application/json", Request("GET", None))
            return
        request = Request(self.command, self.headers.get("Range"))
        self.server.note(self.path, request)
        try:
            self.answer(url.path, request)
        except OSError:
            self.server.end(request, "gone")
            self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_OPTIONS(self) -> None:
        """Other origins ask before they send headers of their own."""
        request = Request("OPTIONS", None)
        self.server.note(self.path, request)
        self.how = dict(parse_qsl(urlsplit(self.path).query))
        self.start(request, 204, {"Access-Control-Allow-Headers": "*", "Content-Length": "0"})
        self.server.end(request, "whole")

    def answer(self, path: str, request: Request) -> None:
        found = self.server.find(unquote(path))
        if "status" in self.how or found is None:
            self.whole(PAGE, "text/html", request, int(self.how.get("status", "404")))
        elif isinstance(found, bytes):
            self.whole(found, TYPES.get(Path(path).suffix, "text/html"), request)
        else:
            self.file(found, request)

    def whole(self, content: bytes, kind: str, request: Request, status: int = 200) -> None:
        self.start(request, status, {"Content-Type": kind, "Content-Length": str(len(content))})
        self.send(iter([content]), request)

    def file(self, path: Path, request: Request) -> None:
        size = path.stat().st_size
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {"Content-Type": kind, "ETag": self.server.etag(path, self.how.get("etag", ""))}
        status, first, last = 200, 0, size - 1
        if request.range is not None and self.how.get("ranges") != "no" and self.unchanged(headers["ETag"]):
            asked = within(request.range, size)
            if asked is None:
                headers |= {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
                self.start(request, 416, headers)
                self.server.end(request, "whole")
                return
            status = 206
            headers["Content-Range"], first, last = ANSWERS[self.how.get("lie", "")](*asked, size)
        if self.how.get("ranges") != "no":
            headers["Accept-Ranges"] = "bytes"
        if "gzip" in self.how and status == 200 and "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(path.read_bytes(), 1)
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(content))}
            body = iter([content])
        else:
            headers["Content-Length"] = str(last + 1 - first)
            body = pieces(path, first, last + 1, int(self.how.get("damage", "-1")), self.piece_bytes())
        self.start(request, status, headers)
        self.send(body, request)

    def unchanged(self, etag: str) -> bool:
        """If-Range: a part only of the file that the client began with."""
        return self.headers.get("If-Range") in (None, etag)

    def start(self, request: Request, status: int, headers: Mapping[str, str]) -> None:
        request.status = status
        self.send_response(status)
        if "chunked" in self.how:
            headers = {**headers, "Transfer-Encoding": "chunked"}
            del headers["Content-Length"]
        if "cors" in self.how:
            self.send_header("Access-Control-Allow-Origin", "*")
        if self.how.get("cors") == "exposed":
            self.send_header("Access-Control-Expose-Headers", "Content-Range, ETag")
        if "isolated" in self.how:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        if "isolated" in self.how or urlsplit(self.path).path.endswith(".js"):
            # an isolated page starts only workers that are so, too
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        if "csp" in self.how:
            self.send_header("Content-Security-Policy", self.how["csp"])
        # tests count bytes on the wire
        self.send_header("Cache-Control", "no-store")
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def send(self, body: Iterator[bytes], request: Request) -> None:
        """The body as the query wants it."""
        if request.method == "HEAD":
            self.server.end(request, "whole")
            return
        limit = self.server.cut(self.path, self.how)
        stall = int(self.how.get("stall", "-1"))
        rate = float(self.how.get("rate", "inf"))
        if "rate" in self.how:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES)
        began = time.monotonic()
        for piece in body:
            stop = min((each for each in (limit, stall) if each >= 0), default=sys.maxsize)
            part = piece[: max(stop - request.sent, 0)]
            self.put(part)
            request.sent += len(part)
            if request.sent >= stop:
                if stop == stall:
                    self.server.end(request, "stalled")
                    self.wait_until_gone()
                else:
                    # the client reads what has arrived: an error would throw it away
                    time.sleep(0.05)
                self.server.end(request, "gone" if stop == stall else "cut")
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            time.sleep(max(began + request.sent / rate - time.monotonic(), 0))
        if "chunked" in self.how:
            self.wfile.write(b"0\r\n\r\n")
        self.server.end(request, "whole")

    def piece_bytes(self) -> int:
        """A slow connection gives some twenty pieces a second."""
        return min(PIECE_BYTES, max(int(self.how["rate"]) // 20, 1)) if "rate" in self.how else PIECE_BYTES

    def put(self, part: bytes) -> None:
        if "chunked" in self.how and part:
            part = b"%x\r\n%s\r\n" % (len(part), part)
        self.wfile.write(part)

    def wait_until_gone(self) -> None:
        """A client that goes ends its half of the connection."""
        self.connection.recv(1)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""


def within(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte of `bytes=A-B` or `bytes=A-`; None if the file has none of them."""
    first, last = asked.removeprefix("bytes=").split("-")
    found = int(first), min(int(last or size - 1), size - 1)
    return found if found[0] <= found[1] else None


def pieces(path: Path, at: int, end: int, damage: int, piece_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(at)
        while at < end:
            piece = file.read(min(piece_bytes, end - at))
            if at <= damage < at + len(piece):
                here = damage - at
                piece = piece[:here] + bytes([piece[here] ^ 1]) + piece[here + 1 :]
            yield piece
            at += len(piece)


class TestServer(ThreadingHTTPServer):
    """Serves folders and single contents by the beginning of their path, and `/`, an empty page. A path that ends
    with `/` is that of index.html."""

    daemon_threads = True
    __test__ = False

    def __init__(self, folders: Mapping[str, Path], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self._folders = dict(folders)
        self._contents: dict[str, bytes] = {"/": PAGE}
        self._requests: defaultdict[str, list[Request]] = defaultdict(list)
        self._lock = Condition()
        self._number = 0

    def url(self, path: str, **how: object) -> str:
        """An address that no one has asked for yet."""
        with self._lock:
            self._number += 1
        query = urlencode({name: str(value) for name, value in how.items()} | {"key": str(self._number)})
        return f"http://127.0.0.1:{self.server_port}{quote(path)}?{query}"

    def serve(self, path: str, content: bytes) -> None:
        self._contents[path] = content

    def mount(self, begin: str, folder: Path) -> None:
        self._folders[begin] = folder

    def requests(self, url: str) -> list[Request]:
        """Those for an address so far, in the order of arrival."""
        with self._lock:
            return list(self._of(url))

    def ended(self, url: str) -> list[Request]:
        """The same, when all of them have ended."""
        return self._when(url, lambda all_: all(each.end not in ("", "stalled") for each in all_))

    def stalled(self, url: str) -> None:
        """Waits until a client waits for bytes that will not come."""
        self._when(url, lambda all_: any(each.end == "stalled" for each in all_))

    def _when(self, url: str, condition: Callable[[list[Request]], bool], timeout_s: float = 10) -> list[Request]:
        with self._lock:
            if not self._lock.wait_for(lambda: condition(self._of(url)), timeout_s):
                raise TimeoutError(f"after {timeout_s} s these have not come so far: {self._of(url)}")
            return list(self._of(url))

    def _of(self, url: str) -> list[Request]:
        return self._requests[urlsplit(url)._replace(scheme="", netloc="").geturl()]

    def start(self) -> TestServer:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def find(self, path: str) -> bytes | Path | None:
        if path in self._contents:
            return self._contents[path]
        if path.endswith("/"):
            path += "index.html"
        for begin, folder in self._folders.items():
            file = (folder / path.removeprefix(begin)).resolve()
            if path.startswith(begin) and file.is_relative_to(folder.resolve()) and file.is_file():
                return file
        return None

    def note(self, target: str, request: Request) -> None:
        with self._lock:
            self._requests[target].append(request)
            self._lock.notify_all()

    def end(self, request: Request, how: str) -> None:
        with self._lock:
            request.end = how
            self._lock.notify_all()

    def cut(self, target: str, how: Mapping[str, str]) -> int:
        """After how many bytes this body ends; -1: where it should."""
        if "cut" not in how:
            return -1
        with self._lock:
            before = sum(each.end == "cut" for each in self._requests[target])
        return int(how["cut"]) if before != int(how.get("cuts", "1")) else -1

    def etag(self, path: Path, kind: str) -> str:
        state = path.stat()
        with self._lock:
            self._number += kind == "changes"
            changing = f"-{self._number}" if kind == "changes" else ""
        return "" if kind == "no" else f'"{state.st_mtime_ns:x}-{state.st_size:x}{changing}"'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes between two requests is no error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    served = [each.partition("=") for each in sys.argv[2:]]
    server = TestServer({begin: Path(folder) for begin, _, folder in served}, int(sys.argv[1]))
    print(server.server_port, flush=True)
    server.serve_forever()
