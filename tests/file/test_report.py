import io
import json

import numpy as np
import pytest
from cases import CASES, dense, shared
from rich.console import Console

from deepcompression.coding.encode_part import Encode
from deepcompression.common.messages import printable
from deepcompression.file.report import Report
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

# Eight weights, survivors at 5 and 6. With gaps of two bits position 5 is a filler at step 4, then a step of 2.
BY_HAND = CompressedTensor((2, 4), np.array([5, 6]), np.array([1, 2], "<f4"), np.array([0, 1], np.uint8))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.dcz"


def report_of(path, tensors, **options):
    save_tensors(path, tensors, **options)
    return Report.of(path)


def printed(report):
    console = Console(width=200, record=True, file=io.StringIO())
    for table in report.tables():
        console.print(table)
    return console.export_text()


def test_the_parts_add_up_to_the_file(path):
    report = report_of(path, CASES | {"tie": Tie("F32 [7]")}, metadata={"größe": "5"})
    assert sum(report.parts.values()) == report.file_bytes == path.stat().st_size
    for row in report.rows:
        assert sum(row.parts.values()) == row.stored_bytes
    own = [row for row in report.rows if row.tied_to is None]
    assert report.parts["checksums"] == 4 * len(own) + 4
    payloads = report.file_bytes - sum(report.parts[name] for name in ("header", "index", "checksums"))
    assert sum(row.stored_bytes for row in report.rows) == payloads


def test_the_numbers_of_a_tensor_are_those_made_by_hand(path):
    report = report_of(path, {"w": BY_HAND, "b": dense("F32", (3,))}, how={"w": Encode(coder="huffman", gap_bits=2)})
    row, bias = report.rows
    assert (row.weights, row.survivors, row.entries, row.centroids, row.gap_bits) == (8, 2, 3, 2, 2)
    assert row.density == 2 / 8
    # two centroids: one bit a code before Huffman coding; filler and two codes: 1 + 2 + 2 bits, padded to a byte
    assert (row.weight_bits, row.weight_bits_coded) == (1, 8 / 3)
    assert row.gap_bits_coded == 8 / 3
    # three entries of 1 + 2 bits, and the codebook
    assert row.fixed_bytes == 3 * 3 / 8 + 8
    assert row.parts == {"fields": 4, "gap table": 3, "gaps": 1, "codebook": 8, "code table": 3, "codes": 1}
    assert (row.dense_bytes, row.stored_bytes) == (32, 20)
    assert (bias.density, bias.fixed_bytes, bias.weight_bits, bias.gap_bits) == (1, 12, 0, 0)
    assert report.dense_bytes == 44
    assert report.fixed_bytes == row.fixed_bytes + 12
    assert report.ratio == 44 / report.file_bytes
    # magic, version and length of the index; what remains of the head is index and checksums
    assert report.parts["header"] == 6
    assert report.parts["dense tensors"] == 12
    # numbers of metadata and of tensors; then two of: length and byte of the name, coder, dtype, axes, payload's length
    assert report.parts["index"] == 2 + (3 + 3 + 2 + 1) + (3 + 3 + 1 + 1)


@pytest.mark.parametrize(("centroids", "bits"), [(1, 1), (2, 1), (3, 2), (16, 4), (17, 5), (256, 8)])
def test_bits_of_a_code_before_huffman_coding_are_those_of_its_codebook(path, centroids, bits):
    report = report_of(path, {"w": shared(4000, list(range(4000)), centroids)}, how={"w": Encode(coder="huffman")})
    assert report.rows[0].weight_bits == bits


def test_a_tie_counts_no_bytes(path):
    report = report_of(path, {"a": dense("F32", (10,)), "b": Tie("a")})
    assert report.rows[1].tied_to == "a"
    assert (report.rows[1].dense_bytes, report.rows[1].stored_bytes, report.rows[1].fixed_bytes) == (0, 0, 0)
    assert report.dense_bytes == 40
    assert "= a" in printed(report)


def test_tensors_without_elements_or_survivors_have_a_row(path):
    report = report_of(path, {"empty": dense("F32", (0, 3)), "zero": DenseTensor("F32", np.zeros(9, "<f4"))})
    assert [row.density for row in report.rows] == [0, 0]
    assert report.rows[1].parts == {"fields": 1, "values": 0}
    assert "100.00%" in printed(report)


def test_a_file_without_tensors_has_a_report(path):
    report = report_of(path, {})
    assert report.ratio == 0
    assert sum(report.parts.values()) == 12
    printed(report)


def test_a_caption_wider_than_its_table_stays_on_one_line(path):
    lines = printed(report_of(path, {"w": DenseTensor("U8", np.zeros(10**6, np.uint8))})).splitlines()
    assert any(line.strip().endswith("times smaller than 1,000,000 bytes") for line in lines)


def test_the_report_is_json(path):
    report = report_of(path, CASES)
    found = json.loads(json.dumps(report.to_dict()))
    assert found["file_bytes"] == report.file_bytes
    assert found["rows"][0].keys() >= {"name", "density", "weight_bits_coded", "fixed_bytes", "parts"}
    assert sum(found["parts"].values()) == report.file_bytes


def test_total_bits_are_means_over_entries_of_those_tensors_that_have_them(path):
    # a constant tensor's codes take no bits, which counts
    tensors = {"constant": shared(1000, list(range(1000)), 1), "two": shared(1000, list(range(1000)), 2)}
    report = report_of(path, tensors | {"bias": dense("F32", (50,))})
    total = next(line for line in printed(report).splitlines() if "total" in line)
    cells = [cell.strip() for cell in total.split("│")]
    assert cells[5:7] == ["1.0", "0.5"]


@pytest.mark.parametrize("name", ["a[/b]", "[red]w", "\x1b[31mw", "line\nbreak", "größe", "[]", ""])
def test_any_name_can_be_printed_and_none_steers_the_terminal(path, name):
    text = printed(report_of(path, {name: dense("F32", (2,)), "tie": Tie(name)}))
    assert printable(name) in text
    assert "\x1b" not in text


def test_names_are_printed_with_escapes_for_unprintable_characters():
    assert printable("größe[0]") == "größe[0]"
    assert printable("\x1b[31m\n") == r"\x1b[31m\n"


def test_bits_that_no_part_of_the_file_shows_are_not_printed(path):
    tensor = shared(4000, list(range(0, 4000, 3)), 16)
    report = report_of(path, {"w": tensor}, how={"w": Encode(coder="small")})
    assert report.rows[0].coded_together
    row = next(line for line in printed(report).splitlines() if line.startswith("│ w "))
    assert [cell.strip() for cell in row.split("│")][5:9] == ["4", "-", "2", "-"]
    total = next(line for line in printed(report).splitlines() if line.startswith("│ total "))
    assert [cell.strip() for cell in total.split("│")][5:9] == ["4.0", "-", "2.0", "-"]


@pytest.mark.parametrize("coder", ["fast", "small"])
def test_columns_before_huffman_coding_are_those_of_the_papers_layout_whatever_the_coder(coder, path):
    tensor = shared(60_000, list(range(0, 60_000, 7)), 16)
    rows = [
        report_of(path, {"w": tensor}, how={"w": how}).rows[0]
        for how in (Encode(coder=coder), Encode(coder="huffman", gap_bits=3))
    ]
    assert [(row.gap_bits, row.entries, row.weight_bits, row.fixed_bytes) for row in rows[:1]] == [
        (row.gap_bits, row.entries, row.weight_bits, row.fixed_bytes) for row in rows[1:]
    ]
