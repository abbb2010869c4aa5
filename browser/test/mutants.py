"""Payloads of golden files with some bytes changed, and what Python makes of them: mutants.json of `make_data`."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from deepcompression import DczFile, FormatError
from deepcompression.coding.coders import decode_dense
from deepcompression.common.binary import Cursor
from deepcompression.file.index import Entry

COUNT = 6000
SEED = 17
LARGEST_BYTES = 1 << 19


def subjects(folder: Path) -> list[tuple[str, Entry, bytes]]:
    """The file, the entry and the payload of every tensor that is small enough, but for those that are stored raw."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        with DczFile(path) as file:
            for entry in file.all_entries.values():
                payload = content[entry.offset : entry.offset + entry.length]
                small = len(payload) > 0 and entry.nbytes <= LARGEST_BYTES
                if entry.tied_to is None and small and entry.coder != "raw":
                    found.append((path.stem, entry, payload))
    return found


def edit(length: int, rng: random.Random) -> tuple[int, int, str]:
    """A place, how many bytes leave there, and those that enter, in hex digits; mostly where lengths and tables are."""
    place = rng.randrange(min(length, rng.choice((8, 64, 256, length))))
    way = rng.randrange(8)
    if way == 0:
        return place, rng.randrange(1, 4), ""
    if way == 1:
        return place, 0, rng.randbytes(rng.randrange(1, 4)).hex()
    byte = rng.choice((rng.randrange(256), 1 << rng.randrange(8), rng.randrange(4), 255))
    return place, 1, f"{byte:02x}"


def mutants(folder: Path) -> list[dict[str, Any]]:
    """File, tensor, edits one after the other, and the SHA-256 of the dense bytes, or None if Python refuses."""
    rng = random.Random(SEED)
    tensors = subjects(folder)
    found = []
    for number in range(COUNT):
        name, entry, payload = tensors[number % len(tensors)]
        edits = [edit(len(payload), rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
        data = bytearray(payload)
        for place, leave, enter in edits:
            data[place : place + leave] = bytes.fromhex(enter)
        try:
            dense = decode_dense(entry.coder, Cursor(data), entry.dtype, entry.shape, 1)
            digest = hashlib.sha256(dense.elements.tobytes()).hexdigest()
        except FormatError:
            digest = None
        found.append({"file": name, "tensor": entry.name, "edits": edits, "sha256": digest})
    return found
