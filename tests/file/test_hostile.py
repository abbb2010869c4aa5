"""Any bytes: an error that says where, or exactly the tensors of a second reader; fast, and in little memory."""

import random
import resource
import sys
import tracemalloc

import handmade
import numpy as np
import pytest
import second_reader
from bad_files import BAD
from cases import content, dense, pruned, shared

from deepcompression.coding.coders import CODERS, decode, decode_dense, encode
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.file.reader import DczFile, load_tensors
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import DenseTensor

LIMIT = 1 << 16


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file with a bit of everything, and a path for others."""
    path = tmp_path_factory.mktemp("hostile") / "small.dcz"
    tensors = {
        "fc.weight": shared(40, [0, 3, 9, 30], 2, shape=(5, 8)),
        "fc.bias": dense("F32", (2,)),
        "tied": Tie("fc.weight"),
        "größe": pruned("BF16", 30, [3, 29]),
        "zero": DenseTensor("F32", np.zeros(9, "<f4")),
    }
    save_tensors(path, tensors, {"made by": "tests"})
    return path.read_bytes(), path


def load(path, data):
    path.write_bytes(data)
    return load_tensors(path, LIMIT)


def test_every_truncation_is_refused(small):
    whole, path = small
    load(path, whole)
    for length in range(len(whole)):
        with pytest.raises(FormatError, match=r"^/.*small.dcz: "):
            load(path, whole[:length])


def test_any_flipped_bit_is_refused(small):
    whole, path = small
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError, match=r"^/.*small.dcz: "):
            load(path, bytes(data))


@pytest.mark.parametrize("extra", [b"\0", b"\xff", b"PK\3\4" * 9])
def test_anything_behind_the_file_is_refused(small, extra):
    whole, path = small
    with pytest.raises(FormatError, match="the payloads end at"):
        load(path, whole + extra)


SAMPLES = {
    "sparse F32": (pruned("F32", 40, [0, 3, 30]), "sparse", None),
    "sparse U8 with fillers": (pruned("U8", 99, [0, 30, 98]), "sparse", 2),
    "huffman F32": (shared(40, [0, 3, 9, 30], 2), "huffman", 2),
    "huffman F16 full": (shared(60, list(range(60)), 9, "F16"), "huffman", None),
    "huffman F64": (shared(3000, list(range(5, 3000, 170)), 3, "F64"), "huffman", 7),
    "huffman BF16 of many centroids": (shared(400, list(range(0, 400, 3)), 90, "BF16"), "huffman", 16),
    "raw": (dense("I16", (9,)), "raw", None),
    "fast F32": (shared(40, [0, 3, 9, 30], 2, shape=(5, 8)), "fast", None),
    "fast F16 of codes": (shared(120, list(range(0, 120, 2)), 9, "F16", (10, 12)), "fast", None),
    "fast BF16 of values": (dense("BF16", (300,)), "fast", None),
    "fast I32 pruned": (pruned("I32", 200, list(range(5, 200, 9))), "fast", None),
    "fast U8 of one survivor": (pruned("U8", 60, [59]), "fast", None),
    "small F32": (shared(40, [0, 3, 9, 30], 2, shape=(5, 8)), "small", None),
    "small F16 of codes": (shared(72, list(range(0, 72, 2)), 9, "F16", (2, 4, 3, 3)), "small", None),
    "small I16 of values": (pruned("I16", 40, list(range(5, 40, 9))), "small", None),
    "device F32": (shared(40, [0, 3, 9, 30], 2, shape=(5, 8)), "device", None),
    "device F16 of codes": (shared(120, list(range(0, 120, 2)), 9, "F16", (10, 12)), "device", None),
    "device I8": (pruned("I8", 200, [0, 1, 2, 150, 199]), "device", None),
    "zero": (shared(40, []), "huffman", None),
}


def dense_or_none(coder, payload, dtype, shape):
    try:
        return content(decode_dense(coder, Cursor(payload), dtype, shape, 2))[2]
    except FormatError:
        return None


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_payloads_are_refused_or_read_as_the_second_reader_does(name):
    tensor, coder, gap_bits = SAMPLES[name]
    payload = encode(tensor, coder, gap_bits)[1]
    rng = random.Random(name)
    verdicts = set()
    for _ in range(700):
        bad = handmade.mutated(rng, payload)
        try:
            number = CODERS[coder].number
            expected = second_reader.read_payload(second_reader.Bytes(bad), number, tensor.dtype, tensor.shape)
        except second_reader.RefusedError:
            expected = None
        try:
            found = content(decode(coder, Cursor(bad), tensor.dtype, tensor.shape)[0])[2]
        except FormatError:
            found = None
        assert found == dense_or_none(coder, bad, tensor.dtype, tensor.shape), bad.hex(" ")
        assert found == expected, bad.hex(" ")
        verdicts.add(found is None)
    assert verdicts == {True, False}


def test_mutated_indices_with_right_checksums_are_refused_or_read_as_the_second_reader_does(small):
    whole, path = small
    rng = random.Random(5)
    index_length = whole[5]
    head, index, payloads = whole[:5], whole[6 : 6 + index_length], whole[6 + index_length + 4 :]
    verdicts = set()
    for _ in range(2500):
        data = handmade.seal(head + handmade.text(handmade.mutated(rng, index))) + payloads
        try:
            expected = second_reader.read(data, LIMIT)
        except second_reader.RefusedError:
            expected = None
        path.write_bytes(data)
        try:
            with DczFile(path, LIMIT) as file:
                found = file.metadata, {name: content(file.read(name)) for name in file}
        except FormatError:
            found = None
        assert found == expected, data.hex(" ")
        verdicts.add(found is None)
    assert verdicts == {True, False}


def test_random_bytes_are_refused(small):
    _, path = small
    rng = random.Random(7)
    for start in [b"", b"\x89DCZ", b"\x89DCZ\1", b"\x89DCZ\1\x20"]:
        for _ in range(100):
            with pytest.raises(FormatError):
                load(path, start + rng.randbytes(rng.randrange(80)))


# --- memory


def claim(coder, size, payload, dtype="U8"):
    return handmade.one(payload, coder=coder, dtype=dtype, shape=(size,))


@pytest.mark.parametrize("name", sorted(BAD))
def test_no_bad_file_takes_memory(name, tmp_path):
    path = tmp_path / "bad.dcz"
    path.write_bytes(BAD[name][0])
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    with pytest.raises(FormatError):
        load_tensors(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before < 64 << 10


@pytest.mark.parametrize("coder", [handmade.RAW, handmade.SPARSE, handmade.HUFFMAN, handmade.FAST, handmade.SMALL])
def test_a_tiny_file_that_claims_a_terabyte_is_refused_before_memory_is_asked_for(coder, tmp_path):
    path = tmp_path / "bad.dcz"
    path.write_bytes(claim(coder, 2**40, b"\0"))
    tracemalloc.start()
    with pytest.raises(
        FormatError, match="the tensors take 1099511627776 bytes when decoded, the limit is 68719476736"
    ):
        load_tensors(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("coder", "payload", "message"),
    [
        (handmade.RAW, b"\0", "1 bytes are stored"),
        (handmade.SPARSE, handmade.varint(2**40) + b"\2" + handmade.lone(0) + b"\0", "do not fit"),
        (handmade.SPARSE, handmade.varint(2**40) + b"\2" + handmade.TWO + b"\1\2", "do not fit"),
        (handmade.HUFFMAN, handmade.varint(2**40) + b"\2" + handmade.TWO + b"\1\2", "too few for 1099511627776"),
    ],
)
def test_entries_without_bytes_are_refused_before_memory_is_asked_for_however_high_the_limit(
    coder, payload, message, tmp_path
):
    path = tmp_path / "bad.dcz"
    path.write_bytes(claim(coder, 2**40, payload, "F32"))
    with pytest.raises(FormatError, match=message):
        load_tensors(path, limit_bytes=sys.maxsize)
