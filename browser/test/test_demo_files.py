"""The demo's sections that take files: a visitor's own `.dcz`, and pictures with text."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, Visitor
from demo import PATIENCE_MS, ready_offline, visit
from playwright.sync_api import Page, expect
from server import TestServer

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
    # there is no ONNX model in it
    expect(page.locator("#to-onnx")).to_be_hidden()


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


@pytest.fixture
def reader(visitor: Visitor, server: TestServer) -> Page:
    """The page with the model that reads text, at work."""
    model = ROOT / "build/browser/site/models/ddddocr.json"
    assert model.exists(), "the site was assembled without its model of text: browser/run models site"
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
def test_a_model_of_text_is_cancelled_before_anything_of_it_has_come(visitor: Visitor, server: TestServer) -> None:
    page = visitor()
    visit(page, server)
    ready_offline(page)
    # nothing of the model ever comes
    page.context.route("**/ddddocr*", lambda route: None)
    page.locator("#reader-start").press("Enter")
    expect(page.locator("#reader-cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#reader-status")).to_contain_text("Cancelled", timeout=2000)
    expect(page.locator("#reader-start")).to_be_focused()
    assert page.workers == []


@pytest.mark.long
def test_an_own_picture_is_read_and_a_bad_one_meets_clear_words(reader: Page) -> None:
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"no picture"}
    reader.locator("#reader-file").set_input_files(bad)
    expect(reader.locator("#reader-status")).to_contain_text("bad.png is no picture")
    reader.locator("#reader-file").set_input_files(ROOT / "build/browser/site/models/ddddocr-2.png")
    expect(reader.locator("#reader-status")).to_contain_text("Read in")
    expect(reader.locator("#reader-text")).not_to_be_empty()
