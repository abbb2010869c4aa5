"""Rows in C: what the coder `device` and `raw` hold, or an error; never a byte beyond the buffers that were given.

tests/device/reader.c also seeks every row, and opens with work buffers that are too small or not aligned.
"""

import random

import handmade
import numpy as np
import pytest
import second_reader
from bad_device_files import DEVICE_PAYLOAD
from cases import CASES, content, dense, numbers, pruned, shared
from device_reader import Error, read_files

from deepcompression.coding import device
from deepcompression.coding.coders import encode


def file_of(tensor):
    payload = encode(tensor, "device")[1]
    return handmade.one(payload, coder=handmade.DEVICE, dtype=tensor.dtype, shape=tensor.shape)


def can_hold(tensor):
    try:
        encode(tensor, "device")
    except ValueError:
        return False
    return True


def test_every_tensor_comes_back_from_memory_and_through_a_callback():
    tensors = [tensor for tensor in CASES.values() if can_hold(tensor)]
    assert len(tensors) > 150
    for found, tensor in zip(read_files(map(file_of, tensors)), tensors, strict=True):
        (only,) = found.tensors
        assert (only.first_error, only.elements) == (Error.OK, content(tensor)[2])


def in_groups(rows=60, columns=170, of_256=30, centroids=40, dtype="F32"):
    """More than one group, gaps beyond every short code, and codes of up to 12 bits."""
    size = rows * columns
    positions = np.flatnonzero(numbers(size, 1) % 256 < of_256)
    tensor = shared(size, positions.tolist(), centroids, dtype, (rows, columns))
    # as geometric as 12 bits allow
    levels = (numbers(len(positions), seed) % 4096 / 4096 for seed in (2, 3))
    tensor.codes[:] = (centroids * np.minimum(*levels) ** 4).astype(np.uint8)
    return tensor


@pytest.fixture
def small_groups(monkeypatch):
    """Groups of some 300 bytes."""
    monkeypatch.setattr(device, "_GROUP_BYTES", 300)


@pytest.mark.parametrize("of_256", [1, 8, 30, 120, 200, 256])
def test_large_tensors_come_back_whatever_their_density(of_256, small_groups):
    tensor = in_groups(of_256=of_256)
    assert (encode(tensor, "device")[1][1] < 60) == (of_256 >= 8)
    (only,) = read_files([file_of(tensor)])[0].tensors
    assert (only.first_error, only.elements) == (Error.OK, content(tensor)[2])


def test_every_truncation_and_flipped_bit_of_a_payload_is_refused_or_gives_what_the_second_reader_finds():
    for tensor in (shared(40, [0, 3, 9, 30], 3, shape=(5, 8)), pruned("I8", 60, [3, 29, 59])):
        payload = encode(tensor, "device")[1]
        flipped = [
            bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(payload))
            for bit in range(8 * len(payload))
        ]
        compare([*(payload[:length] for length in range(len(payload))), *flipped], tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        shared(40, [0, 3, 9, 30], 2, shape=(5, 8)),
        shared(600, list(range(0, 600, 2)), 9, "F16", (20, 30)),
        shared(90, [i for i in range(90) if i % 3], 6, "BF16", (9, 10)),
        shared(300, list(range(0, 300, 7)), 200, "F64", (3, 100)),
        pruned("I8", 200, [0, 1, 2, 150, 199]),
        dense("U8", (5, 7)),
    ],
    ids=lambda tensor: f"{tensor.dtype} {list(tensor.shape)}",
)
def test_mutated_payloads_are_refused_or_read_as_the_second_reader_does(tensor):
    payload = encode(tensor, "device")[1]
    rng = random.Random(repr(tensor.shape))
    read = compare([handmade.mutated(rng, payload) for _ in range(500)], tensor)
    assert 0 < read < 500


def compare(payloads, tensor):
    """How many payloads both readers can read; they agree on all."""
    whole = [handmade.one(each, coder=handmade.DEVICE, dtype=tensor.dtype, shape=tensor.shape) for each in payloads]
    read = 0
    for found, payload in zip(read_files(whole), payloads, strict=True):
        try:
            source = second_reader.Bytes(payload)
            expected = second_reader.read_payload(source, handmade.DEVICE, tensor.dtype, tensor.shape)
        except second_reader.RefusedError:
            assert found.tensors[0].read == Error.PAYLOAD
        else:
            assert (found.tensors[0].read, found.tensors[0].elements) == (Error.OK, expected)
            read += 1
    return read


def test_random_payloads_are_refused():
    rng = random.Random(3)
    files = [
        handmade.one(b"\1\1" + rng.randbytes(rng.choice([3, 10, 60])), coder=handmade.DEVICE, dtype=dtype, shape=(9, 9))
        for dtype in ("F32", "U8", "I32")
        for _ in range(700)
    ]
    assert {found.tensors[0].read for found in read_files(files)} == {Error.PAYLOAD}


@pytest.mark.parametrize("name", DEVICE_PAYLOAD)
def test_a_bad_payload_has_the_error_of_payloads(name):
    (only,) = read_files([DEVICE_PAYLOAD[name][0]])[0].tensors
    assert (only.error, only.checked) == (Error.OK, Error.OK)
    assert only.read == Error.PAYLOAD


def test_an_error_of_the_callback_is_handed_on_from_each_of_its_calls(small_groups):
    tensors = [in_groups(12, 170, centroids=9), in_groups(12, 170, 200), dense("I8", (7, 20)), shared(40, [])]
    for found, tensor in zip(read_files(map(file_of, tensors), failures=True), tensors, strict=True):
        assert found.tensors[0].elements == content(tensor)[2]


def test_bytes_that_change_between_readings_are_refused_or_give_wrong_rows_alone():
    read_files([file_of(shared(60, [0, 3, 4, 5, 9, 30, 31, 32, 45, 50], 6, "F16", (6, 10)))], failures=True)


def test_the_work_buffer_holds_tables_and_codebook_alone():
    # 16 codes of 4 bits, gaps 0 and 1 of 1 bit: two tables of 156 bytes, 17 floats
    tensor = shared(96, [3 * (i // 2) + i % 2 for i in range(64)], 16)
    assert read_files([file_of(tensor)])[0].tensors[0].work == 2 * 156 + 17 * 4
    # without a codebook
    assert read_files([file_of(pruned("I8", 99, [1, 3]))])[0].tensors[0].work == 2 * 156


def test_coders_that_a_build_lacks_are_named_by_their_error():
    tensor = shared(40, [0, 3, 9, 30], 2)
    for coder in ("sparse", "huffman", "fast", "small", "deflate"):
        number = {"sparse": 2, "huffman": 3, "fast": 4, "small": 5, "deflate": 6}[coder]
        file = handmade.one(encode(tensor, coder)[1], coder=number, dtype="F32", shape=(40,))
        assert read_files([file])[0].tensors[0].read == Error.CODER
