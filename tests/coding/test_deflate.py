"""The coder deflate: the profiles that use it, and streams of a wrong length."""

import tracemalloc
import zlib

import numpy as np
import pytest
from cases import content, dense, numbers, shared

from deepcompression.coding.coders import decode, decode_dense, encode
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors import slices
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.tensor import DenseTensor

# packed 4-bit weights with their most frequent values repeated: as in int4 checkpoints
PACKED = DenseTensor("U8", np.tile((numbers(5000) % 16 * 16 + 8).astype(np.uint8), 20).reshape(100, 1000))


def deflated(data, behind=b""):
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush() + behind


@pytest.mark.parametrize("dtype", STORAGE)
def test_planes_are_the_elements_bytes_the_most_significant_first(dtype):
    tensor = dense(dtype, (7, 5))
    payload = encode(tensor, "deflate")[1]
    planes = np.frombuffer(zlib.decompress(payload, -15), np.uint8).reshape(tensor.elements.itemsize, -1)
    bits = [int.from_bytes(element.tobytes(), "little") for element in tensor.elements.reshape(-1)]
    width = 8 * tensor.elements.itemsize
    if dtype in ("F64", "F32", "F16", "BF16"):
        bits = [(b << 1 | b >> (width - 1)) & ((1 << width) - 1) for b in bits]
    assert planes.T.tolist() == [list(b.to_bytes(width // 8, "big")) for b in bits]


@pytest.mark.parametrize("dtype", ["U8", "I16", "F32", "C64"])
def test_tensors_of_many_slices_come_back(dtype, monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 16)
    tensor = dense(dtype, (10, 9))
    payload = encode(tensor, "deflate")[1]
    assert content(decode("deflate", Cursor(payload), dtype, (10, 9))[0]) == content(tensor)


@pytest.mark.parametrize(("profile", "coder"), [("fast", "deflate"), ("small", "deflate"), ("paper", "raw")])
def test_integers_that_repeat_are_deflated_except_by_the_profile_paper(profile, coder):
    assert encode(PACKED, profile=profile)[0] == coder


def test_weights_are_deflated_only_in_the_smallest_files_and_only_dense_ones():
    weights = DenseTensor("F32", np.tile(numbers(3000).astype("<f4"), 90))
    assert encode(weights)[0] != "deflate"
    assert encode(weights, profile="small")[0] == "deflate"
    assert encode(shared(70_000, list(range(0, 70_000, 2))), profile="small")[0] != "deflate"


def test_a_stream_without_repeats_is_as_short_as_huffman_codes_alone():
    tensor = DenseTensor("U8", np.minimum(numbers(90_000) % 256, numbers(90_000, 3) % 256).astype(np.uint8))
    huffman = zlib.compressobj(9, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY)
    shortest = min(len(deflated(tensor.elements)), len(huffman.compress(tensor.elements) + huffman.flush()))
    assert len(encode(tensor, "deflate")[1]) == shortest


@pytest.mark.parametrize("read", [decode, decode_dense])
@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (deflated(bytes(11)), "at offset 0: a deflated stream holds more than the tensor"),
        (deflated(bytes(9)), "at offset 0: a deflated stream ends 1 bytes too early"),
        (deflated(bytes(10))[:-1], "too early|has no end"),
        (deflated(bytes(10), b"x"), "1 bytes are left over"),
        (deflated(bytes(10), deflated(bytes(10))), "bytes are left over"),
        (b"", "ends 10 bytes too early"),
        (b"\xff" * 20, "is damaged"),
    ],
)
def test_a_stream_of_another_length_is_refused(payload, message, read):
    with pytest.raises(FormatError, match=message):
        read("deflate", Cursor(payload), "U8", (10,))


def test_a_bomb_takes_no_more_memory_than_the_tensor():
    bomb = deflated(bytes(200 << 20))
    tracemalloc.start()
    with pytest.raises(FormatError, match="holds more than the tensor"):
        decode_dense("deflate", Cursor(bomb), "U8", (1000,))
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()
