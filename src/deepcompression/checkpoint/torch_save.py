"""A state_dict that torch saved, as a checkpoint: nothing in it is executed, ties are found, memory stays bounded."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompression.checkpoint.checkpoint import Opened
from deepcompression.checkpoint.torch_zip import check_members, member_names
from deepcompression.checkpoint.torchao import PACKAGE, Parts, allow_parts, parts_of
from deepcompression.common.binary import LIMIT_BYTES, FormatError
from deepcompression.common.messages import some
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

if TYPE_CHECKING:
    from torch import Tensor

# the names under which training scripts keep a state_dict beside other things; see `_state_in`
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "params")

# pages of a file stay in memory once they were read, until it is mapped anew: after so many bytes
_RENEW_BYTES = 64 << 20

_REMEDY = (
    "where you trust it, load it by the program that wrote it and save the weights alone: "
    "torch.save(model.state_dict(), ...) or safetensors.torch.save_file"
)


class StateDictCheckpoint(Opened):
    """A file of torch.save with a mapping from names to tensors, read with `weights_only`; mapped into memory a part at
    a time, but read whole if it is in the format that torch wrote before version 1.6. Opening compares the checksums of
    an archive, so that its file is read twice.

    Raises ValueError, with reason and remedy, for one that holds more than tensors, FormatError for a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._touched = 0
        members = member_names(path)
        self._mapped = members is not None
        if members is not None and "constants.pkl" in members:
            raise ValueError(
                f"{path}: is a TorchScript archive, code and all, which is not opened; {_REMEDY}; "
                "here model is torch.jit.load(...)"
            )
        if self._mapped:
            check_members(path)
        self._tensors: dict[str, Tensor] | None = None
        (tensors, metadata), self.notes = self._load()
        self.metadata: dict[str, str] = metadata
        if not self._mapped:
            self.notes += ("It is in the format of torch before 1.6, which is held in memory as a whole.",)
        self.entries = _entries(path, tensors)

    def _load(self) -> tuple[Parts, tuple[str, ...]]:
        parts, notes = _state_in(self.path, _load(self.path, self._mapped))
        self._tensors = parts.tensors
        return parts, notes

    def read(self, name: str) -> DenseTensor:
        from deepcompression.tensors.from_torch import from_torch

        entry = self.entries[name]
        with self._lock:
            if self._tensors is None:
                self._load()
            assert self._tensors is not None
            tensor = self._tensors.get(name)
        if tensor is None or tuple(tensor.shape) != entry.shape:
            raise FormatError(f"{self.path}: {name} is not what it was: the file changed while it was open")
        touched = max(entry.nbytes, tensor.untyped_storage().nbytes())
        tensor = tensor.detach().resolve_conj().resolve_neg()
        found = from_torch(name, tensor)
        if tensor.is_contiguous():
            # it is still in the mapped file
            found = DenseTensor(found.dtype, found.elements.copy())
        with self._lock:
            self._touched += touched
            if self._mapped and self._touched > _RENEW_BYTES:
                # the last thread that still reads from this mapping lets go of it
                self._tensors, self._touched = None, 0
        return found

    def close(self) -> None:
        self._tensors = {}


def _load(path: Path, mapped: bool, again: bool = False) -> object:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path}: such files are read through torch, which is not installed: pip install torch, or save the "
            "tensors by safetensors.torch.save_file"
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    # whatever a damaged pickle may come upon
    except Exception as error:
        needed = _needed(path, str(error), mapped)
        if not again and allow_parts(needed):
            return _load(path, mapped, again=True)
        if needed:
            kind = "a whole module" if any(name.startswith("torch.nn.") for name in needed) else "objects"
            packed = not again and all(name.startswith(f"{PACKAGE}.") for name in needed)
            remedy = f"these are read where {PACKAGE} is installed: pip install {PACKAGE}" if packed else _REMEDY
            raise ValueError(
                f"{path}: holds {kind} that only code can make, and none is executed: {some(needed)}; {remedy}"
            ) from None
        reason = re.sub(r"(?s).*WeightsUnpickler error: ", "", str(error)).strip().partition("\n")[0]
        raise FormatError(
            f"{path}: not a sound file of torch.save: {type(error).__name__}: {reason}; it is cut off, damaged, or of "
            "another kind"
        ) from None


def _needed(path: Path, error: str, mapped: bool) -> set[str]:
    """The names of objects in the file beyond tensors and plain values."""
    from torch import serialization

    if "Weights only load failed" not in error:
        return set()
    names = set(re.findall(r"GLOBAL (\S+)", error))
    if mapped and names:
        names.update(serialization.get_unsafe_globals_in_checkpoint(path))
    return names


def _state_in(path: Path, found: object) -> tuple[Parts, tuple[str, ...]]:
    """The state_dict in a loaded object, made of plain tensors, and notes on the parts that are left out.

    A mapping in which one of `WRAPPERS` is a mapping with tensors is but a wrapper: that one is taken, again and again.
    Objects beside it (an optimizer, settings) are left out, and values in the state_dict that are no tensors.
    """
    import torch

    under: list[str] = []
    notes: list[str] = []
    while True:
        if not isinstance(found, Mapping):
            raise ValueError(
                f"{path}: holds a {type(found).__name__}, expected a mapping from names to tensors; {_REMEDY}"
            )
        inner = [name for name in WRAPPERS if _has_tensors(found.get(name))]
        if not inner:
            break
        if len(inner) > 1:
            raise ValueError(f"{path}: holds weights under {some(inner)}: save those you mean alone")
        if beside := [str(name) for name in found if name != inner[0]]:
            notes.append(f"Only the tensors under {inner[0]!r} are read; beside it stand {some(beside)}.")
        under.append(inner[0])
        found = found[inner[0]]
    where = f" under {'.'.join(under)}" if under else ""
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if odd := [name for name in tensors if not isinstance(name, str)]:
        raise ValueError(f"{path}: tensors{where} are named by texts; found {odd[0]!r}")
    if nested := [str(name) for name, value in found.items() if _has_tensors(value)]:
        raise ValueError(f"{path}: holds mappings with tensors{where}, {some(nested)}: save the one you mean alone")
    if hidden := [str(name) for name, value in found.items() if _hides_tensors(value)]:
        raise ValueError(
            f"{path}: holds tensors{where} inside of lists or tuples, {some(hidden)} (as torch's own quantized modules "
            "pack weights), which have no names: save them by names of their own"
        )
    if not tensors and len(found):
        raise ValueError(f"{path}: there are no tensors in it, but {some(map(str, found))}; {_REMEDY}")
    if others := [str(name) for name in found if name not in tensors]:
        notes.append(f"Values that are no tensors are left out: {some(others)}.")
    try:
        return parts_of(tensors), tuple(notes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _has_tensors(value: Any) -> bool:
    import torch

    if not isinstance(value, Mapping):
        return False
    return any(isinstance(inner, torch.Tensor) or _has_tensors(inner) for inner in value.values())


def _hides_tensors(value: Any) -> bool:
    """Whether there are tensors anywhere inside of a value that is none."""
    import torch

    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple | set) else ()
    return any(isinstance(inner, torch.Tensor) or _hides_tensors(inner) for inner in inside)


def _entries(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, TensorEntry]:
    """Raises ValueError for a tensor that no file can hold, FormatError if they claim more memory than is sensible."""
    from deepcompression.tensors.from_torch import dtype_of

    entries: dict[str, TensorEntry] = {}
    roots: dict[object, str] = {}
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ValueError(f"{path}: {name} is a tensor without memory (on the device meta), which no file can hold")
        entry = TensorEntry(name, dtype_of(f"{path}: {name}", tensor), tuple(tensor.shape))
        memory = tensor.data_ptr(), entry.dtype, entry.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg()
        root = roots.setdefault(memory, name) if entry.nbytes else name
        entries[name] = entry if root == name else TensorEntry(name, entry.dtype, entry.shape, root)
    if (claimed := sum(entry.nbytes for entry in entries.values())) > LIMIT_BYTES and claimed > path.stat().st_size:
        raise FormatError(f"{path}: its tensors claim {claimed} bytes, more than the file has and than {LIMIT_BYTES}")
    return entries
