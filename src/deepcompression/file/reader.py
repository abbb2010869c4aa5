"""A `.dcz` file open for reading: nothing is believed before it is checked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from deepcompression.checkpoint.folder_names import KEY, PREFIX
from deepcompression.coding.coder import Account
from deepcompression.coding.coders import decode, decode_dense
from deepcompression.common.binary import LIMIT_BYTES, Cursor, FormatError, checksum
from deepcompression.common.files import ByteFile
from deepcompression.common.units import number
from deepcompression.file.index import CHECKSUM_BYTES, HEADER_BYTES, Entry, read_head, read_header
from deepcompression.file.work import take_work
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.tensor import DenseTensor, Tensor

_LARGE_BYTES = 16 << 20


class DczFile(Mapping[str, Array]):
    """A `.dcz` file open for reading: a mapping from names to dense NumPy arrays, each read when it is looked up.

    entries     name -> `Entry`, in the file's order; `all_entries` has those of `folder`, too
    metadata    texts by name
    folder      name -> `Entry` of the bytes of each file of a Hugging Face folder; empty for a file without a folder
    weights     names in `folder` of files of weights, of which it has the heads
    work_bytes  of the work buffer that a device needs for a tensor; 0 if the coder `device` has none
    size_bytes  of the file; `head_bytes` are those before the payloads, `index_bytes` those of the index

    Opening reads and checks the index alone, `read` the bytes of its tensor alone; threads may share a `DczFile`.
    Raises FormatError, naming file, tensor and offset, for anything that docs/format.md does not allow, and for a
    file whose decoded tensors would take more than `limit_bytes`.
    """

    def __init__(self, path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> None:
        number("limit_bytes", limit_bytes)
        self._file = ByteFile(path)
        self.path = self._file.path
        self.size_bytes = self._file.size
        try:
            self._read_head(limit_bytes)
        except FormatError as error:
            self.close()
            from deepcompression.file.names import not_dcz

            hint = not_dcz(self.path) if str(error).startswith("not a .dcz file") else ""
            raise FormatError(f"{self.path}: {error}{hint}") from None
        except BaseException:
            self.close()
            raise

    def _read_head(self, limit_bytes: int) -> None:
        start, self.index_bytes = read_header(self._bytes(0, min(self.size_bytes, HEADER_BYTES), "header"))
        self.head_bytes = start + self.index_bytes + CHECKSUM_BYTES
        self.all_entries, self.metadata = read_head(self._bytes(0, self.head_bytes, "index"), start)
        self.work_bytes = take_work(self.metadata)
        self.weights = _names(self.metadata.pop(KEY, None))
        beside = {name for name in self.all_entries if self.weights and name.startswith(PREFIX)}
        self.folder = {name.removeprefix(PREFIX): self.all_entries[name] for name in beside}
        self.entries = {name: entry for name, entry in self.all_entries.items() if name not in beside}
        if absent := sorted(self.weights - self.folder.keys()):
            raise FormatError(f"its metadata {KEY} names the file of weights {absent[0]!r}, which is not in it")
        own = [entry for entry in self.all_entries.values() if entry.tied_to is None]
        end = own[-1].offset + own[-1].length if own else self.head_bytes
        if end != self.size_bytes:
            raise FormatError(f"the payloads end at {end}, the file at {self.size_bytes}: it is cut off or damaged")
        decoded = sum(entry.nbytes for entry in own)
        if decoded > limit_bytes:
            raise FormatError(f"the tensors take {decoded} bytes when decoded, the limit is {limit_bytes}")

    def _bytes(self, offset: int, length: int, what: str) -> memoryview:
        if offset + length > self.size_bytes:
            raise FormatError(
                f"{what} at offset {offset} needs {length} bytes, the file ends at {self.size_bytes}: "
                "it is cut off or damaged"
            )
        return self._file.read(offset, length).data

    def read(self, name: str, threads: int = 1) -> Tensor:
        """One tensor, dense or shared as it is stored; a shared one of a few values may be stored dense.

        Raises KeyError for an unknown name.
        """
        return self.read_with_account(name, threads)[0]

    def read_with_account(self, name: str, threads: int = 1) -> tuple[Tensor, Account]:
        """One tensor, and the account of its payload's bytes."""
        with self._checked(name) as (entry, payload):
            return decode(entry.coder, payload, entry.dtype, entry.shape, threads)

    def read_dense(self, name: str, threads: int = 1) -> DenseTensor:
        """One dense tensor, in little more memory than its own; `threads` decode a large one together."""
        with self._checked(name) as (entry, payload):
            return decode_dense(entry.coder, payload, entry.dtype, entry.shape, threads)

    def read_file(self, name: str) -> bytes:
        """The bytes of a file of the folder, or the head of a file of weights."""
        return self.read_dense(PREFIX + name).elements.tobytes()

    def check(self, name: str) -> None:
        """Compares the checksum of one tensor's payload, without decoding it."""
        with self._checked(name):
            pass

    @contextmanager
    def _checked(self, name: str) -> Iterator[tuple[Entry, Cursor]]:
        """A tensor's entry and its payload, whose checksum is right; errors name file and tensor."""
        entry = self.all_entries[name]
        try:
            payload = self._bytes(entry.offset, entry.length, "payload")
            if (found := checksum(payload)) != entry.checksum:
                raise FormatError(
                    f"the payload at offset {entry.offset} is damaged: its checksum is {found:08x}, "
                    f"expected {entry.checksum:08x}"
                )
            yield entry, Cursor(payload, entry.offset)
        except FormatError as error:
            raise FormatError(f"{self.path}: tensor {name!r}: {error}") from None

    def __getitem__(self, name: str) -> Array:
        return self.read_dense(name).numpy()

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def stamp(self) -> tuple[int, int]:
        """Size and time of the last change of the open file."""
        return self._file.stamp()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> DczFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _names(value: str | None) -> frozenset[str]:
    """The names of a folder's files of weights; none for a file without a folder."""
    try:
        names = json.loads(value or "[]")
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or (value and not names):
        raise FormatError(f"its metadata {KEY} names no files of weights in JSON")
    return frozenset(names)


def load_tensors(
    path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES, threads: int | None = None
) -> dict[str, Array]:
    """Every tensor of a file as a dense NumPy array, by name; tied names share one array. Needs no torch.

    BF16 is widened to float32; 8-bit floats come as their bits. Raises FormatError; `limit_bytes` bounds the bytes of
    all decoded tensors. `threads`, by default as many as there are CPUs, share the work.
    """
    from concurrent.futures import ThreadPoolExecutor

    workers = threads or os.cpu_count() or 1
    with DczFile(path, limit_bytes) as file, ThreadPoolExecutor(workers) as pool:
        own = [entry for entry in file.entries.values() if entry.tied_to is None]
        # all threads together decode a large tensor, one alone a small one
        large = [entry.name for entry in own if entry.nbytes >= _LARGE_BYTES]
        arrays = {name: file.read_dense(name, workers).numpy() for name in large}
        small = [entry.name for entry in own if entry.name not in arrays]
        arrays.update(zip(small, pool.map(file.__getitem__, small), strict=True))
        return {name: arrays[entry.tied_to or name] for name, entry in file.entries.items()}
