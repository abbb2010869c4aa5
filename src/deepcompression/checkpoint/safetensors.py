"""safetensors files, single or sharded with an index, as a checkpoint: every dtype bit for bit, without torch."""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deepcompression.checkpoint.checkpoint import Checkpoint, check_inside
from deepcompression.common.binary import MAX_DIMENSIONS, FormatError
from deepcompression.common.files import ByteFile
from deepcompression.common.messages import some
from deepcompression.tensors.dtypes import STORAGE, item_bits, size_bytes
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

LENGTH_BYTES = 8
METADATA = "__metadata__"
SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"

# complex numbers that the format does not have -> their real and imaginary parts, along one more axis
PAIRS = {"C128": "F64", "C32": "F16"}

# of metadata: the names of tensors written as pairs, and their dtypes, in JSON
PAIRED = "deepcompression.complex"

# those of the format
DTYPES = tuple(name for name in STORAGE if name not in (*PAIRS, "I4", "U4", "I2", "U2"))

# of a header, as in the safetensors library, and of an index
MAX_HEADER_BYTES = 100_000_000


class SafetensorsCheckpoint(Checkpoint):
    """One file, or, with `index`, all shards of an index.

    Opening reads and checks all headers. Raises FormatError, naming file and tensor, for damaged or missing parts,
    ValueError for a dtype that is not known.
    """

    def __init__(self, path: Path, index: bool = False) -> None:
        self.path = path
        self.entries: dict[str, TensorEntry] = {}
        self.metadata: dict[str, str] = {}
        # name of each file -> its bytes before the data of the tensors
        self.heads: dict[str, bytes] = {}
        self._places: dict[str, tuple[ByteFile, int]] = {}
        with ExitStack() as self._files:
            if index:
                self._open_shards(path)
            else:
                self._add(path)
            self._files = self._files.pop_all()

    def _open_shards(self, index: Path) -> None:
        shard_of = _read_index(index)
        shards = {name: check_inside(name, index) for name in sorted(set(shard_of.values()))}
        if missing := [name for name, shard in shards.items() if not shard.is_file()]:
            raise FormatError(f"{index}: shards are missing in its folder: {some(missing)}; fetch them again")
        stem = index.name.removesuffix(INDEX_SUFFIX)
        beside = {path.name for path in index.parent.glob(f"{glob.escape(stem)}-*-of-*{SUFFIX}")}
        if unknown := beside - shards.keys():
            raise FormatError(
                f"{index}: does not name the shards {some(unknown)} beside it: remove them, or fetch the index that "
                "belongs to them"
            )
        for name, shard in shards.items():
            self._add(shard, name, {key for key, value in shard_of.items() if value == name})

    def _add(self, path: Path, shard: str = "", expected: set[str] | None = None) -> None:
        """Adds the tensors and metadata of one file. Raises FormatError for other tensors than the expected ones."""
        file = ByteFile(path)
        self._files.callback(file.close)
        try:
            metadata, tensors, start = _read_header(file)
        except FormatError as error:
            raise FormatError(f"{path}: not a sound safetensors file: {error}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if expected is not None and (missing := expected - tensors.keys()):
            raise FormatError(f"{path}: has no {some(missing)}, which the index says are in it")
        self.heads[shard or path.name] = file.read(0, start).tobytes()
        paired = _paired(metadata)
        for name, (entry, offset) in tensors.items():
            if expected is not None and name not in expected:
                where = f"; another is in {self._places[name][0].path}" if name in self._places else ""
                raise FormatError(f"{path}: tensor {name!r} is not where the index says{where}")
            self.entries[name] = _joined(entry, paired.get(name))
            self._places[name] = file, start + offset
        for key, value in metadata.items():
            # mostly the same in every shard
            self.metadata[key if self.metadata.get(key, value) == value else f"{shard}: {key}"] = value

    def read(self, name: str) -> DenseTensor:
        entry, (file, offset) = self.entries[name], self._places[name]
        return DenseTensor.of_bytes(entry.dtype, entry.shape, file.read(offset, entry.nbytes))

    def close(self) -> None:
        self._files.close()


def _paired(metadata: dict[str, str]) -> dict[str, str]:
    """The dtypes of complex tensors that were written as pairs; their text leaves the metadata."""
    try:
        found = json.loads(metadata.get(PAIRED, "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    metadata.pop(PAIRED, None)
    return found


def _joined(entry: TensorEntry, dtype: object) -> TensorEntry:
    """The entry of a complex tensor whose parts are stored; another one as it is."""
    if isinstance(dtype, str) and PAIRS.get(dtype) == entry.dtype and entry.shape[-1:] == (2,):
        return TensorEntry(entry.name, dtype, entry.shape[:-1])
    return entry


def _read_index(path: Path) -> dict[str, str]:
    """Tensor name -> file name of its shard."""
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise FormatError(f"{path}: takes more than {MAX_HEADER_BYTES} bytes, too many for an index")
    try:
        index = parse_object(path.read_bytes())
    except FormatError as error:
        raise FormatError(f"{path}: not a sound index of shards: {error}") from None
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise FormatError(f"{path}: not a sound index of shards: it has no weight_map from tensors to files")
    return shards


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object without repeated keys."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_without_repetition)
        # refuses lone surrogates
        json.dumps(value, ensure_ascii=False).encode()
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError(f"no JSON object, but a {type(value).__name__}")
    return value


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise FormatError(f"{some({name for name in names if names.count(name) > 1})} stands twice in it")
    return found


def _read_header(file: ByteFile) -> tuple[dict[str, str], dict[str, tuple[TensorEntry, int]], int]:
    """Metadata, tensors with their offsets in ascending order, and the file's position of offset 0. Raises as `_entry`
    does.
    """
    if file.size < LENGTH_BYTES:
        raise FormatError(f"it has {file.size} bytes, fewer than the {LENGTH_BYTES} of the header's length")
    length = int.from_bytes(file.read(0, LENGTH_BYTES).tobytes(), "little")
    start = LENGTH_BYTES + length
    if length > MAX_HEADER_BYTES:
        raise FormatError(f"its header takes {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
    if start > file.size:
        raise FormatError(f"its header ends at {start}, the file at {file.size}: it is cut off")
    header = parse_object(file.read(LENGTH_BYTES, length).tobytes())
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{METADATA} is no mapping from texts to texts")
    found = {name: _entry(name, entry) for name, entry in header.items()}
    tensors = dict(sorted(found.items(), key=lambda item: (item[1][1], item[1][0].nbytes)))
    end = 0
    for name, (entry, offset) in tensors.items():
        if offset != end:
            what = "overlaps the one before it" if offset < end else "leaves a gap behind the one before it"
            raise FormatError(f"tensor {name!r} begins at {offset}, expected {end}: it {what}")
        end += entry.nbytes
    if start + end != file.size:
        cut = ": it is cut off" if start + end > file.size else ""
        raise FormatError(f"its tensors end at {start + end}, the file at {file.size}{cut}")
    return metadata, tensors, start


def _entry(name: str, entry: object) -> tuple[TensorEntry, int]:
    """The checked entry of a tensor in the header, and its offset. Raises FormatError for untrue numbers, ValueError
    for an unknown dtype.
    """
    if not isinstance(entry, Mapping) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"tensor {name!r} does not have dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise FormatError(f"tensor {name!r} is of dtype {dtype}, expected a text")
    if dtype not in DTYPES:
        raise ValueError(
            f"tensor {name!r} is of the dtype {dtype}, which this version does not know: a newer deepcompression may "
            f"read it; known are {', '.join(DTYPES)}"
        )
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise FormatError(f"tensor {name!r} has the shape {shape} and the offsets {offsets}, expected integers >= 0")
    if len(shape) > MAX_DIMENSIONS or math.prod(axis or 1 for axis in shape) >= 1 << 60:
        raise FormatError(f"tensor {name!r} has the shape {shape}, which is too large")
    if math.prod(shape) * item_bits(dtype) % 8:
        raise FormatError(f"tensor {name!r} has the shape {shape} of {dtype}, which does not fill whole bytes")
    if (found := offsets[1] - offsets[0]) != (expected := size_bytes(dtype, tuple(shape))):
        raise FormatError(f"tensor {name!r} has {found} bytes, expected {expected} for {shape} of {dtype}")
    return TensorEntry(name, dtype, tuple(shape)), offsets[0]


def _counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
