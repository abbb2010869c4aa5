"""The package in Chromium: every golden file, good and bad, on the page and in a worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import FOLDERS, Complaints
from playwright.sync_api import Page
from server import TestServer

GOOD = [*(f"/golden/{path.name}" for path in sorted(FOLDERS["/golden/"].glob("*.dcz"))), "/networks/lenet-5.dcz"]
BAD = {each["name"]: each["stage"] for each in json.loads((FOLDERS["/data/"] / "bad.json").read_text())}

# opens a file and compares all that Python says of it, and each byte of its tensors
COMPARE = """async ([url, expected, data, worker]) => {
    const dcz = await import("/dist/index.js");
    const file = await (worker ? dcz.openInWorker(url) : dcz.open(url));
    const bytes = new Uint8Array(await (await fetch(data)).arrayBuffer());
    const wrong = [];
    const same = (what, found, right) => {
        if (JSON.stringify(found) !== JSON.stringify(right)) wrong.push([what, found, right]);
    };
    same("bytes", file.bytes, expected.size);
    same("metadata", Object.fromEntries(file.metadata), expected.metadata);
    same("names", [...file.entries.keys()], expected.tensors.map((each) => each.name));
    const order = [];
    for await (const tensor of file.tensors()) {
        order.push(tensor.name);
        const right = expected.tensors.find((each) => each.name === tensor.name);
        const found = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
        for (const key of ["dtype", "shape", "tiedTo"]) same(right.name, file.entries.get(right.name)[key], right[key]);
        same(right.name, [tensor.dtype, tensor.shape], [right.dtype, right.shape]);
        same(right.name, found.length, right.bytes);
        const at = found.findIndex((byte, index) => byte !== bytes[right.offset + index]);
        if (at >= 0) wrong.push([right.name, "byte", at, found[at], bytes[right.offset + at]]);
    }
    // a tied tensor comes with the one that it is tied to
    const root = (name) => file.entries.get(name).tiedTo ?? name;
    const behind = (all) => all.flatMap((each) => all.filter((name) => root(name) === each));
    same("order", order, behind([...file.entries.keys()]));
    file.close();
    return wrong;
}"""

# what opening a file and reading all of its tensors throws
REFUSE = """async ([url, worker]) => {
    const dcz = await import("/dist/index.js");
    let stage = "open";
    let file;
    try {
        file = await (worker ? dcz.openInWorker(url) : dcz.open(url));
        stage = "tensor";
        for await (const _ of file.tensors()) ;
    } catch (error) {
        return {stage, own: error instanceof dcz.DczError, code: error.code, message: error.message};
    } finally {
        file?.close();
    }
    return {stage: "none"};
}"""


@pytest.mark.parametrize("worker", [False, True], ids=["page", "worker"])
def test_every_golden_file_is_what_python_makes_of_it(server: TestServer, page: Page, worker: bool) -> None:
    wrong = {}
    for path in GOOD:
        name = Path(path).stem
        expected = json.loads((FOLDERS["/data/"] / f"{name}.json").read_text())
        found = page.evaluate(COMPARE, [server.url(path), expected, server.url(f"/data/{name}.bin"), worker])
        if found:
            wrong[name] = found[:3]
    assert wrong == {}


@pytest.mark.parametrize(("worker", "names"), [(False, [*BAD]), (True, [*BAD][::25])], ids=["page", "worker"])
def test_every_bad_golden_file_is_refused_where_python_refuses_it(
    server: TestServer, page: Page, complaints: Complaints, worker: bool, names: list[str]
) -> None:
    # asked for bytes that a truncated file does not have
    complaints.allow("responded with a status of 416")
    found = {name: page.evaluate(REFUSE, [server.url(f"/bad/{name}.dcz"), worker]) for name in names}
    assert {name: each for name, each in found.items() if not each.get("own")} == {}
    assert {name: each["stage"] for name, each in found.items()} == {name: BAD[name] for name in names}
