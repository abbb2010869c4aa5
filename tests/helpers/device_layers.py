"""Calls of layers of device/ under sanitizers (by tests/device/layers.c), and weights as layers take them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import device_c
import numpy as np
from layers_twin import Pool, Recurrence, Requantize, Window
from numpy.typing import NDArray

from deepcompression.coding.encode_part import Encode
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor

LAYERS = tuple(f"device/{path.name}" for path in sorted(device_c.DEVICE.glob("nn_*.c")))
SOURCES = ("tests/device/layers.c", *LAYERS, "device/dcz.c", "device/rows.c")

# dcz_error, as far as layers give it
OK, ERROR_WORK, ERROR_SIZE, ERROR_RANGE = 0, 10, 11, 12

Array = NDArray[Any]
Pairs = tuple[Array, Array, Array | None]


def _bytes(argument: object) -> bytes:
    match argument:
        case str():
            return argument.encode() + b"\0"
        case bytes():
            return argument
        case None:
            return b""
        case bool() | int():
            return struct.pack("<I", argument)
        case float():
            return struct.pack("<f", argument)
        case Window():
            return struct.pack("<6H8B", *argument)
        case Pool():
            return struct.pack("<7H5Bx", *argument)
        case Recurrence():
            return struct.pack("<4IB3x", *argument)
        case np.ndarray():
            return argument.tobytes()
    raise TypeError(f"no argument of a layer: {type(argument)}")


def _flat(arguments: Iterable[object]) -> Iterable[object]:
    """A requantization is two arguments, a tuple as many as it has."""
    for each in arguments:
        if isinstance(each, Requantize):
            yield from (each.multiplier, np.array([each.step, *each[1:]], np.int32))
        elif type(each) is tuple:
            yield from _flat(each)
        else:
            yield each


class Calls:
    """Calls that one run of the program answers."""

    def __init__(self) -> None:
        self._given: list[bytes] = []
        self._outputs: list[tuple[tuple[int, ...], np.dtype[Any]]] = []

    def add(self, name: str, shape: int | tuple[int, ...], *arguments: object) -> None:
        """A call of dcz_`name`, whose output has this shape and the dtype in its name. A packed or coded one of two
        ways has `_packed` or `_coded` at its end.
        """
        kind = next(kind for kind in ("i8", "i16", "f32") if f"_{kind}" in name)
        dtype = np.dtype({"i8": np.int8, "i16": np.int16, "f32": np.float32}[kind])
        shape = (shape,) if isinstance(shape, int) else shape
        size = int(np.prod(shape)) * dtype.itemsize
        parts = [_bytes(each) for each in (name, size, *_flat(arguments))]
        self._given.append(struct.pack("<I", len(parts)))
        self._given += [struct.pack("<I", len(part)) + part for part in parts]
        self._outputs.append((shape, dtype))

    def run(self) -> list[tuple[int, Array]]:
        """The error and the output of each call, in order."""
        found = device_c.run(device_c.compile(SOURCES, name="layers"), given=b"".join(self._given))
        results, at = [], 0
        for shape, dtype in self._outputs:
            (error,) = struct.unpack_from("<I", found, at)
            count = int(np.prod(shape))
            results.append((error, np.frombuffer(found, dtype, count, at + 4).reshape(shape)))
            at += 4 + count * dtype.itemsize
        assert at == len(found)
        return results


def outputs(calls: Calls) -> list[Array]:
    """The outputs of calls that must all succeed."""
    results = calls.run()
    assert [error for error, _ in results] == [OK] * len(results)
    return [output for _, output in results]


def pack(codes: Array, survivors: Array, filler: int = 0) -> tuple[Array, Array]:
    """The arrays `pairs` and `counts` of a matrix, given the code of each element and which of them survive."""
    pairs: list[int] = []
    counts = []
    for row, alive in zip(codes, survivors, strict=True):
        begin, before = len(pairs), -1
        for column in np.flatnonzero(alive):
            gap = int(column) - before - 1
            while gap > 255:
                pairs += [255, filler]
                gap -= 256
            pairs += [gap, int(row[column]) & 255]
            before = int(column)
        counts.append((len(pairs) - begin) // 2)
    return np.array(pairs, np.uint8), np.array(counts, np.uint16)


def packed_i8(dense: Array) -> Pairs:
    """A matrix of int8 as the arguments of a packed call; a weight of zero is pruned."""
    return (*pack(dense, dense != 0), None)


def packed_f32(dense: Array) -> Pairs:
    """A matrix of float32 as the arguments of a packed call; its last centroid is the filler's."""
    codebook, codes = np.unique(dense, return_inverse=True)
    zero = len(codebook)
    return (*pack(codes.reshape(dense.shape), dense != 0, zero), np.append(codebook, 0).astype(np.float32))


def coded(dense: Array, way: str) -> tuple[bytes, int, None]:
    """A matrix as the arguments of a coded call: the second tensor of a file of the coder `raw` or `device`."""
    tensors = {name: DenseTensor.from_numpy(each) for name, each in (("another", np.zeros(3, np.int8)), ("w", dense))}
    how = {"w": Encode(coder=way)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.dcz"
        save_tensors(path, tensors, how=how)
        return path.read_bytes(), 1, None


# Ways to hold weights, the ends of the functions' names, and bytes of a work buffer that are enough for their decoders.
WAYS = {"packed": ("packed", 0), "raw": ("coded", 0), "device": ("coded", 4096)}


def held(dense: Array, way: str) -> Pairs | tuple[bytes, int, None]:
    if way != "packed":
        return coded(dense, way)
    return packed_i8(dense) if dense.dtype == np.int8 else packed_f32(dense)


def work(survivors: int = 0, more: int = 0) -> bytes:
    """A work buffer for a row of so many survivors."""
    return bytes(8 * survivors + more)


def sparse(rng: np.random.Generator, shape: Sequence[int], density: float, dtype: type = np.int8) -> Array:
    """Random weights, so many of which survive; those of float32 share 15 centroids."""
    alive = rng.random(shape) < density
    if dtype is np.int8:
        return (rng.integers(1, 128, shape) * rng.choice([-1, 1], shape) * alive).astype(np.int8)
    centroids = (rng.permutation(15) - 7.3).astype(np.float32) / 20
    return np.where(alive, rng.choice(centroids, shape), np.float32(0))
