"""A second reader of .dcz: slow, obvious, made from docs/format.md alone, sharing nothing with the package.

Quotation marks hold the words of that page.
"""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np
import slow_adaptive
from second_reader_bits import Bytes, RefusedError, demand, read_stream, read_table
from second_reader_blocks import read_block, read_codebook, read_values, unordered
from second_reader_device import read_device
from second_reader_mask import read_mask

__all__ = ["DTYPES", "Bytes", "Decoded", "RefusedError", "read", "read_payload"]

ITEM_BYTES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "C64": 8},
    **{"C128": 16, "C32": 4, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1},
    **{"F6_E2M3": 6 / 8, "F6_E3M2": 6 / 8, "F4": 4 / 8, "I4": 4 / 8, "U4": 4 / 8, "I2": 2 / 8, "U2": 2 / 8},
}
DTYPES = list(ITEM_BYTES)
WEIGHT_DTYPES = ("F64", "F32", "F16", "BF16")
ALIAS, RAW, SPARSE, HUFFMAN, FAST, SMALL, DEFLATE, DEVICE = range(8)
VALUES, CODES = range(2)


class Decoded(NamedTuple):
    """A tensor: its dtype by name, its shape, and its elements as little-endian bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read(data: bytes, limit_bytes: int = 64 << 30) -> tuple[dict[str, str], dict[str, Decoded]]:
    """Metadata and tensors of a whole file. Raises RefusedError."""
    file = Bytes(data)
    demand(file.take(4) == b"\x89DCZ", "magic")
    demand(file.u8() == 1, "version")
    length = file.varint()
    demand(length <= 10**8, "at most 10^8")
    index = Bytes(file.take(length))
    head = data[: file.at]
    demand(file.crc() == zlib.crc32(head), "checksum crc of everything before it")

    metadata: dict[str, str] = {}
    keys = []
    for _ in range(count_of(index)):
        keys.append(index.take(index.varint()))
        demand(keys == sorted(set(keys)), "keys in strictly ascending order of their bytes")
        metadata[utf8(keys[-1])] = utf8(index.take(index.varint()))

    entries: list[tuple[str, list]] = []
    name = b""
    for _ in range(count_of(index)):
        shared = index.varint()
        demand(shared <= len(name), "bytes that this name has in common with the start of the previous one")
        name = name[:shared] + index.take(index.varint())
        demand(utf8(name) not in [other for other, _ in entries], "names are unique")
        entries.append((utf8(name), read_entry(index, entries)))
    demand(sum(len(name.encode()) for name, _ in entries) <= 10**8, "they take at most 10^8 bytes together")
    demand(index.at == length, "bytes left over in the index")
    own = [fields for _, fields in entries if fields[0] != ALIAS]
    demand(file.at + sum(fields[3] for fields in own) == len(data), "the file ends with the last payload")
    sizes = [bytes_of(DTYPES[dtype], shape) for _, dtype, shape, _, _ in own]
    demand(sum(sizes) <= limit_bytes, "the tensors' decoded bytes, added up, are within the limit")

    tensors: list[Decoded] = []
    for _, fields in entries:
        if fields[0] == ALIAS:
            tensors.append(tensors[fields[1]])
            continue
        coder, dtype, shape, length, checksum = fields
        payload = file.take(length)
        demand(zlib.crc32(payload) == checksum, "checksum crc of the payload")
        elements = read_payload(Bytes(payload), coder, DTYPES[dtype], shape)
        tensors.append(Decoded(DTYPES[dtype], shape, elements))
    return metadata, dict(zip([name for name, _ in entries], tensors, strict=True))


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Elements "fill bytes from the least significant bit on"."""
    return -(-math.prod(shape) * int(8 * ITEM_BYTES[dtype]) // 8)


def row_of(dtype: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """A tensor "is coded as one row": of U64 for C128, of U8 for the others."""
    if dtype == "C128":
        return "U64", (2 * math.prod(shape),)
    return ("U8", (bytes_of(dtype, shape),)) if ITEM_BYTES[dtype] < 1 else (dtype, shape)


def count_of(index: Bytes) -> int:
    count = index.varint()
    demand(count <= 2**20, "at most 2^20 tensors and 2^20 metadata entries")
    return count


def utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise RefusedError("valid UTF-8") from None


def read_entry(index: Bytes, earlier: list[tuple[str, list]]) -> list:
    coder = index.u8()
    demand(coder <= DEVICE, "an unknown version, coder or dtype")
    if coder == ALIAS:
        target = index.varint()
        demand(target < len(earlier), "an earlier tensor")
        demand(earlier[target][1][0] != ALIAS, "which is not an alias")
        return [ALIAS, target]
    dtype = index.u8()
    demand(dtype < len(DTYPES), "an unknown version, coder or dtype")
    dimensions = index.varint()
    demand(dimensions <= 32, "at most 32")
    shape = tuple(index.varint() for _ in range(dimensions))
    claimed = bytes_of(DTYPES[dtype], tuple(max(axis, 1) for axis in shape))
    demand(claimed < 2**63, "a shape whose bytes, axes of length 0 counted as 1, do not fit 2^63")
    return [coder, dtype, shape, index.varint(), index.crc()]


def read_payload(payload: Bytes, coder: int, dtype: str, shape: tuple[int, ...]) -> bytes:
    dtype, shape = row_of(dtype, shape)
    size, item_bytes = math.prod(shape), ITEM_BYTES[dtype]
    if coder == RAW:
        demand(len(payload.data) == size * item_bytes, "the length is exactly theirs")
        return payload.data
    if coder == FAST:
        elements = read_fast(payload, dtype, shape)
    elif coder == SMALL:
        elements = read_small(payload, dtype, shape)
    elif coder == DEFLATE:
        elements = read_deflate(payload, dtype, size)
    elif coder == DEVICE:
        elements = read_device(payload, shape, item_bytes, dtype in WEIGHT_DTYPES)
    else:
        elements = read_paper(payload, coder, dtype, size)
    demand(payload.at == len(payload.data), "the payload ends here")
    return elements.tobytes()


def read_deflate(payload: Bytes, dtype: str, size: int) -> np.ndarray:
    """uint8 (size, bytes of an element)"""
    item_bytes = ITEM_BYTES[dtype]
    stream = zlib.decompressobj(wbits=-15)
    try:
        planes = stream.decompress(payload.take(len(payload.data)), size * item_bytes + 1)
    except zlib.error as error:
        raise RefusedError(str(error)) from None
    demand(len(planes) == size * item_bytes, "as many bytes as the tensor has")
    demand(stream.eof and not stream.unused_data, "to the end of the payload")
    integers = np.zeros(size, np.uint64)
    for plane in np.frombuffer(planes, np.uint8).reshape(item_bytes, size):
        integers = integers << np.uint64(8) | plane
    if dtype in WEIGHT_DTYPES:
        integers = integers >> np.uint64(1) | integers << np.uint64(8 * item_bytes - 1)
    return integers.astype("<u8").view(np.uint8).reshape(size, 8)[:, :item_bytes]


def read_paper(payload: Bytes, coder: int, dtype: str, size: int) -> np.ndarray:
    """uint8 (size, bytes of an element)"""
    item_bytes = ITEM_BYTES[dtype]
    demand(coder == SPARSE or dtype in WEIGHT_DTYPES, "codebooks, and so `huffman`, are of F64, F32, F16 or BF16")
    elements = np.zeros((size, item_bytes), np.uint8)
    count = payload.varint()
    demand(count <= size, "at most the number of elements")
    if count == 0:
        return elements
    gap_bits = payload.u8()
    demand(2 <= gap_bits <= 16, "b, from 2 to 16")
    gap_table = read_table(payload, 2**gap_bits)
    length = payload.varint()
    gaps = read_stream(payload.take(length), gap_table, count)
    position = -1
    positions = [position := position + gap + 1 for gap in gaps]
    demand(position < size, "no position may reach the number of elements")
    if coder == SPARSE:
        values = payload.take(len(payload.data) - payload.at)
        demand(len(values) == count * item_bytes, "the elements at the entries, one after the other, to the end")
        elements[positions] = np.frombuffer(values, np.uint8).reshape(count, item_bytes)
        return elements
    centroids = payload.u8() + 1
    codebook = np.frombuffer(payload.take(centroids * item_bytes), np.uint8).reshape(centroids, item_bytes)
    code_table = read_table(payload, centroids + 1)
    codes = read_stream(payload.take(len(payload.data) - payload.at), code_table, count)
    for position, code in zip(positions, codes, strict=True):
        if code < centroids:
            elements[position] = codebook[code]
    return elements


def read_fast(payload: Bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 (size, bytes of an element)"""
    item_bytes = ITEM_BYTES[dtype]
    elements = np.zeros((math.prod(shape), item_bytes), np.uint8)
    kind = payload.u8()
    demand(kind in (VALUES, CODES), "0 values, 1 codes")
    demand(kind == VALUES or dtype in WEIGHT_DTYPES, "for kind 1 (a weight dtype)")
    survivors = np.flatnonzero(read_mask(payload, shape))
    if len(survivors) == 0:
        return elements
    if kind == VALUES:
        elements[survivors] = read_values(payload, len(survivors), item_bytes, dtype in WEIGHT_DTYPES)
        return elements
    codebook = read_codebook(payload, payload.u8() + 1, 8 * item_bytes)
    codes = read_block(payload, len(survivors), len(codebook))
    elements[survivors] = as_elements(codebook, item_bytes)[codes]
    return elements


def read_small(payload: Bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 (size, bytes of an element)"""
    size, item_bytes = math.prod(shape), ITEM_BYTES[dtype]
    elements = np.zeros((size, item_bytes), np.uint8)
    kind = payload.u8()
    demand(kind in (VALUES, CODES), "0 values, 1 codes")
    demand(kind == VALUES or dtype in WEIGHT_DTYPES, "for kind 1 (a weight dtype)")
    count = payload.varint()
    demand(count <= size, "n, at most the number of elements")
    if kind == VALUES:
        mask = payload.take(payload.varint())
        survivors = list(range(count))
        if count in (0, size):
            demand(mask == b"", "no bytes if none or all do")
        else:
            _, survivors, _ = read_adaptive(mask, shape, count, 0, 0)
        elements[survivors] = read_values(payload, count, item_bytes, dtype in WEIGHT_DTYPES)
        return elements
    if count == 0:
        return elements
    centroids = payload.u8() + 1
    coded = payload.take(len(payload.data) - payload.at)
    ordered, survivors, codes = read_adaptive(coded, shape, count, centroids, 8 * item_bytes)
    codebook = [unordered(integer, 8 * item_bytes) for integer in ordered]
    elements[survivors] = as_elements(codebook, item_bytes)[codes]
    return elements


def read_adaptive(
    data: bytes, shape: tuple[int, ...], survivors: int, centroids: int, width: int
) -> tuple[list[int], list[int], list[int]]:
    try:
        return slow_adaptive.decode(data, shape, survivors, centroids, width)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def as_elements(codebook: list[int], item_bytes: int) -> np.ndarray:
    """uint8 (centroids, bytes of an element)"""
    as_bytes = b"".join(centroid.to_bytes(item_bytes, "little") for centroid in codebook)
    return np.frombuffer(as_bytes, np.uint8).reshape(len(codebook), item_bytes)
