"""A Hugging Face folder <-> its weights and tensors of bytes (docs/format.md, "Folders"): every file comes back."""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Self

import numpy as np

from deepcompression.checkpoint.folder_names import KEY, PREFIX
from deepcompression.checkpoint.safetensors import LENGTH_BYTES, METADATA, parse_object
from deepcompression.common.binary import FormatError
from deepcompression.common.files import named_if_full
from deepcompression.common.messages import some
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor, raw_bytes

# the name of the weights of a folder that holds nothing else
MODEL = "model.safetensors"

# a tokenizer may have 30 MB; what is larger is no side file
MOST_BYTES = 64 << 20

# weights of this and of other frameworks
_WEIGHTS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".onnx", ".onnx_data", ".gguf"),
    *(".ggml", ".tflite", ".mlmodel", ".dcz", ".dcz.lock"),
)


@dataclass(frozen=True)
class Folder:
    """A folder around the weights that are read.

    heads     name of each file of weights -> its bytes before the data of the tensors
    files     name of every other file that is kept -> its path
    left_out  names of those that are not kept: other weights, large files, hidden folders, broken links, pipes

    Names are relative to the folder, with `/` between their parts. Symbolic links count as the files they lead to.
    """

    heads: Mapping[str, bytes]
    files: Mapping[str, Path]
    left_out: tuple[str, ...] = ()

    @classmethod
    def around(cls, folder: Path, heads: Mapping[str, bytes]) -> Self:
        files: dict[str, Path] = {}
        left_out = []
        for name, path in _walk(folder, ""):
            if name in heads:
                continue
            kept = path.is_file() and not name.endswith(_WEIGHTS) and is_inside(name)
            if kept and path.stat().st_size <= MOST_BYTES:
                files[name] = path
            else:
                left_out.append(name)
        return cls(heads, files, tuple(left_out))

    @property
    def notes(self) -> tuple[str, ...]:
        if not self.left_out:
            return ()
        return (
            "these parts of the folder are left out, as other weights, too large, hidden, or no files: "
            f"{some(self.left_out)}.",
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {KEY: json.dumps(sorted(self.heads), ensure_ascii=False)}

    def tensors(self) -> Iterator[tuple[str, DenseTensor]]:
        """The files as tensors of bytes, one at a time, by the names that they have among other tensors."""
        for name in sorted({*self.heads, *self.files}):
            data = self.heads[name] if name in self.heads else self.files[name].read_bytes()
            yield PREFIX + name, DenseTensor("U8", np.frombuffer(data, np.uint8))

    def around_tensors(self, entries: Mapping[str, TensorEntry]) -> tuple[Self | None, tuple[str, ...]]:
        """The folder, if its files of weights hold just these tensors and can be written again; or None, and a note."""
        if not any(name.startswith(PREFIX) for name in entries):
            with suppress(FormatError):
                _layouts("", self.heads, entries)
                return self, ()
        return None, ("the tensors have other names than in the folder, whose other files are left out.",)


def is_inside(name: str) -> bool:
    """Whether a name leads to a file in a folder, on every system."""
    windows = PureWindowsPath(name)
    parts = name.split("/")
    return not (windows.anchor or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts))


def write_folder(
    path: Path,
    heads: Mapping[str, bytes],
    files: Mapping[str, Callable[[], bytes]],
    entries: Mapping[str, TensorEntry],
    read: Callable[[str], DenseTensor],
) -> None:
    """Writes a folder anew; it appears only when it is complete.

    path     a folder that does not exist or is empty
    heads    as of `Folder`
    files    name of every other file -> a function that reads it
    entries  the tensors; `read` is called for one of them at a time

    Raises FormatError, before anything is written, for names outside of the folder and for heads that do not describe
    the tensors; ValueError for a path where something is already.
    """
    for name in (names := [*heads, *files]):
        above = {str(each) for each in PurePosixPath(name).parents}
        if not is_inside(name) or not above.isdisjoint(names):
            raise FormatError(f"it names the file {name!r}, which is not a file inside of its folder")
    layouts = _layouts("its file ", heads, entries)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path}: exists and is not an empty folder: remove it, or choose another name")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.absolute().parent))
    partial = path.absolute().with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with named_if_full(path):
            for name, load in files.items():
                place = _new_file(partial, name)
                place.write_bytes(load())
            for name, layout in layouts.items():
                with _new_file(partial, name).open("wb") as file:
                    file.write(heads[name])
                    for tensor in layout:
                        file.write(raw_bytes(read(tensor)))
            if path.is_dir():
                path.rmdir()
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _new_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _layouts(where: str, heads: Mapping[str, bytes], entries: Mapping[str, TensorEntry]) -> dict[str, list[str]]:
    """The tensors of each file of weights, in the order of their data."""
    layouts = {name: _layout(f"{where}{name}", head, entries) for name, head in heads.items()}
    held = [name for layout in layouts.values() for name in layout]
    own = {name for name, entry in entries.items() if entry.tied_to is None}
    if len(held) > len(set(held)) or (missing := own - set(held)):
        lost = some(missing if len(held) == len(set(held)) else held)
        raise FormatError(f"{where}the heads of its files of weights do not hold each tensor once: {lost}")
    return layouts


def _layout(where: str, head: bytes, entries: Mapping[str, TensorEntry]) -> list[str]:
    if int.from_bytes(head[:LENGTH_BYTES], "little") != len(head) - LENGTH_BYTES:
        raise FormatError(f"{where}: its head is cut off or damaged")
    try:
        header = parse_object(head[LENGTH_BYTES:])
    except FormatError as error:
        raise FormatError(f"{where}: its head is damaged: {error}") from None
    header.pop(METADATA, None)
    ranges = {}
    for name, entry in header.items():
        found = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not isinstance(found, list) or [type(offset) for offset in found] != [int, int]:
            raise FormatError(f"{where}: its head gives no offsets for {name!r}")
        ranges[name] = found
    end = 0
    for name, (begin, stop) in sorted(ranges.items(), key=lambda item: item[1]):
        if name not in entries or begin != end or stop - begin != entries[name].nbytes:
            raise FormatError(f"{where}: its head does not describe the tensor {name!r} of the file")
        end = stop
    return sorted(ranges, key=ranges.__getitem__)


def _walk(folder: Path, under: str) -> Iterator[tuple[str, Path]]:
    """All files, broken links and pipes, sorted; folders that are hidden or links come as they are, with a `/` behind
    their names.
    """
    for path in sorted(folder.iterdir()):
        name = under + path.name
        if path.is_file():
            yield name, path
        elif path.is_dir() and (path.is_symlink() or path.name.startswith(".") or path.name.endswith(".partial")):
            yield f"{name}/", path
        elif path.is_dir():
            yield from _walk(path, f"{name}/")
        else:
            yield name, path
