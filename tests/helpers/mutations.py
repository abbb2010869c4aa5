"""Files of every coder, dtype and shape, and ways to spoil them. A case is made from its number alone."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cases import CASES, content, dense, numbers, pruned, shared
from handmade import alias, entry, file, seal, text, varint

from deepcompression.coding.coders import CODERS, encode
from deepcompression.coding.encode_part import Encode
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import DenseTensor, Tensor

Content = dict[str, tuple[str, tuple[int, ...], bytes]]


class Part(NamedTuple):
    """A tensor of a file: the name of the one it is tied to, or its payload and the facts in the index."""

    name: str
    tied_to: str | None
    coder: int
    dtype: str
    shape: tuple[int, ...]
    payload: bytes


class Sample(NamedTuple):
    """A sound file: its bytes, where its index lies in them, its parts, and the tensors saved in it."""

    whole: bytes
    index: slice
    parts: list[Part]
    saved: Content


class Case(NamedTuple):
    """A spoilt file. With all checksums set right it may hold any tensors, else only those of `saved`."""

    kind: str
    data: bytes
    saved: list[Content]
    repaired: bool


# --- sound files


def bits(size: int, density: float, seed: int) -> np.ndarray:
    return numbers(size, seed) < density * 2**32


def by_rows(rows: int, columns: int) -> DenseTensor:
    """Rows of three densities."""
    mask = bits(rows * columns, 1, 3).reshape(rows, columns) & (
        numbers(rows * columns, 4).reshape(rows, columns)
        < (np.array([0.02, 0.3, 0.9]) * 2**32)[numbers(rows, 5) % 3][:, None]
    )
    return DenseTensor("U8", mask.astype(np.uint8))


def kernels(count: int) -> DenseTensor:
    """Convolutions of 3 x 3 whose survivors form few patterns."""
    patterns = bits(5 * 9, 0.4, 6).reshape(5, 9)
    return DenseTensor("I8", patterns[numbers(count, 7) % 5].astype(np.int8).reshape(count // 4, 4, 3, 3))


def in_lanes(count: int, ones: int, centroids: int) -> Tensor:
    """Enough survivors for a block in lanes: `ones` of 256 of them have the first code."""
    tensor = shared(count, list(range(count)), centroids, "F16")
    tensor.codes[numbers(count, 8) % 256 < ones] = 0
    return tensor


def by_every_coder(tensor: Tensor) -> list[dict[str, tuple[Tensor | Tie, str | None]]]:
    """A file for each coder that can hold the tensor."""
    files: list[dict[str, tuple[Tensor | Tie, str | None]]] = []
    for coder in CODERS:
        with suppress(ValueError):
            encode(tensor, coder)
            files.append({"w": (tensor, coder)})
    return files


def groups() -> list[dict[str, tuple[Tensor | Tie, str | None]]]:
    """The tensors of each file by name, each with the coder that is demanded."""
    files: list[dict[str, tuple[Tensor | Tie, str | None]]] = []
    for dtype in STORAGE:
        files += by_every_coder(pruned(dtype, 90, [0, 3, 30, 31, 89]))
        files.append({"all": (dense(dtype, (2, 3, 4)), "fast"), "none": (dense(dtype, (3, 0, 2)), None)})
    for dtype in WEIGHT_DTYPES:
        for name in ("256 centroids", "one value", "no survivor", "full", "one element"):
            files += by_every_coder(CASES[f"{dtype} {name}"])
    files.append(
        {
            "fc.weight": (shared(40, [0, 3, 9, 30], 2, shape=(5, 8)), "huffman"),
            "fc.bias": (dense("F32", (2,)), None),
            "tied": (Tie("fc.weight"), None),
            "größe\n": (pruned("BF16", 30, [3, 29]), "fast"),
            "tied too": (Tie("größe\n"), None),
            "": (dense("F64", ()), None),
            "empty": (dense("I32", (0,)), None),
        }
    )
    turned = DenseTensor("U8", np.ascontiguousarray(by_rows(60, 40).elements.T))
    for tensor in (by_rows(40, 30), by_rows(12, 200), turned, kernels(100)):
        files += [{"w": (tensor, "fast")}, {"w": (tensor, "small")}]
    files += [{"w": (in_lanes(66_000, ones, k), "fast")} for ones, k in ((250, 2), (200, 60), (40, 256))]
    files.append({"w": (pruned("U8", 200_000, list(range(0, 200_000, 3))), "fast")})
    return files


def samples() -> list[Sample]:
    with tempfile.TemporaryDirectory() as folder:
        return [_sample(Path(folder) / "sample.dcz", group) for group in groups()]


def _sample(path: Path, group: dict[str, tuple[Tensor | Tie, str | None]]) -> Sample:
    tensors = {name: tensor for name, (tensor, _) in group.items()}
    how = {name: Encode(coder=coder) for name, (_, coder) in group.items() if coder}
    save_tensors(path, tensors, {"made by": "tests"}, how)
    saved = {n: content(tensors[t.to] if isinstance(t, Tie) else t) for n, t in tensors.items()}
    whole = path.read_bytes()
    with DczFile(path) as opened:
        begin = opened.head_bytes - opened.index_bytes - 4
        parts = [
            Part(
                *(e.name, e.tied_to, CODERS[e.coder].number, e.dtype, e.shape),
                b"" if e.tied_to else whole[e.offset : e.offset + e.length],
            )
            for e in opened.entries.values()
        ]
    return Sample(whole, slice(begin, opened.head_bytes - 4), parts, saved)


# --- ways to spoil them

EXTREMES = [0, 1, 127, 128, 255, 2**14, 2**16, 2**16 + 1, 2**20, 2**31, 2**32, 2**40, 2**62, 2**63 - 1]


def spoilt(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """One to four changes; splices come from `other`."""
    new = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(new) + 1)
        # heads of payloads are small: half of the changes go there
        if rng.random() < 0.5:
            at = min(at, rng.randrange(24))
        match rng.randrange(9):
            case 0 | 1 if at < len(new):
                new[at] ^= 1 << rng.randrange(8)
            case 2 if at < len(new):
                new[at] = rng.choice([0, 1, 2, 127, 128, 255, rng.randrange(256)])
            case 3:
                del new[at:]
            case 4:
                del new[at : at + rng.choice([1, 1, 2, 9, 600])]
            case 5:
                new[at:at] = rng.randbytes(rng.choice([1, 1, 2, 9, 600]))
            case 6:
                new[at : at + rng.randrange(3)] = varint(rng.choice(EXTREMES) + rng.choice([0, 0, -1, 1]) & 2**63 - 1)
            case 7:
                begin = rng.randrange(len(other) + 1)
                new[at : at + rng.choice([0, 3, 600])] = other[begin : begin + rng.choice([3, 20, 600])]
            case _:
                new[at : at + 9] = bytes([rng.choice([0, 255])]) * rng.choice([1, 9])
    return bytes(new)


def other_shape(rng: random.Random, shape: Sequence[int]) -> tuple[int, ...]:
    axes = list(shape)
    match rng.randrange(5):
        case 0:
            axes = [math.prod(axes)]
        case 1:
            axes.insert(rng.randrange(len(axes) + 1), rng.choice([0, 1, 2, 255, 2**31, 2**62]))
        case 2 if axes:
            axes[rng.randrange(len(axes))] = rng.choice([0, 1, 3, 999, 2**16, 2**19, 2**20, 2**31, 2**62, 2**63 - 1])
        case 3 if axes:
            at = rng.randrange(len(axes))
            axes[at] = max(0, axes[at] + rng.choice([-1, 1, -8, 8, 64]))
        case _:
            rng.shuffle(axes)
    return tuple(axes)


def rebuilt(parts: Sequence[Part]) -> bytes:
    """A file of these parts, every length and checksum right."""
    numbers = {part.name: number for number, part in enumerate(parts)}
    entries = [
        alias(part.name.encode(), numbers[part.tied_to])
        if part.tied_to is not None
        else entry(part.payload, part.coder, part.dtype, part.shape, part.name.encode())
        for part in parts
    ]
    return file(entries, b"".join(part.payload for part in parts))


def case(number: int, sound: Sequence[Sample]) -> Case:
    rng = random.Random(number)
    one, two = rng.choice(sound), rng.choice(sound)
    data = one.whole
    match rng.randrange(8):
        case 0:
            return Case("bytes", spoilt(rng, data, two.whole), [one.saved, two.saved], False)
        case 1:
            cut = rng.choice([rng.randrange(len(data)), one.index.stop + 4])
            resumed = rng.choice([rng.randrange(len(two.whole)), two.index.stop + 4, min(cut, len(two.whole))])
            return Case("splice", data[:cut] + two.whole[resumed:], [one.saved, two.saved], False)
        case 2:
            index = spoilt(rng, data[one.index], two.whole[two.index])
            return Case("index", seal(data[:5] + text(index)) + data[one.index.stop + 4 :], [one.saved], True)
    at = rng.choice([i for i, part in enumerate(one.parts) if not part.tied_to])
    part, strange = one.parts[at], rng.choice(two.parts)
    match rng.randrange(6):
        case 0:
            kind, part = "shape", part._replace(shape=other_shape(rng, part.shape))
        case 1:
            dtype = rng.choice([part.dtype, *STORAGE])
            kind, part = (
                "coder",
                part._replace(coder=rng.choice([coder.number for coder in CODERS.values()]), dtype=dtype),
            )
        case _:
            kind, part = "payload", part._replace(payload=spoilt(rng, part.payload, strange.payload))
    return Case(kind, rebuilt([*one.parts[:at], part, *one.parts[at + 1 :]]), [one.saved], True)
