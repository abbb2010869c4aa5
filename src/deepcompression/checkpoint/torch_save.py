"""State_dicts of torch.save as checkpoints: no code runs, ties are found, memory stays bounded."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.safetensors import SUFFIX
from deepcompression.checkpoint.torch_zip import check_members, member_names
from deepcompression.checkpoint.torchao import PACKAGE, Parts, allow_parts, parts_of
from deepcompression.common.binary import LIMIT_BYTES, FormatError
from deepcompression.common.messages import some
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

if TYPE_CHECKING:
    from torch import Tensor

# names under which training scripts keep a state_dict beside other objects; see `_state_in`
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "params")

# A mapped file keeps the pages it has read in memory. It is mapped again after so many blocks of these, if an eighth of
# them was wanted: mapping unpickles all tensors.
_RENEW_BLOCKS = 64
_BLOCK_BYTES = 1 << 20

_REMEDY = (
    "where you trust it, load it by the program that wrote it and save the weights alone: "
    "torch.save(model.state_dict(), ...) or safetensors.torch.save_file"
)


class StateDictCheckpoint(Checkpoint):
    """A file of torch.save with a mapping from names to tensors, read with `weights_only`.

    An archive is read once to compare its checksums, then mapped into memory a part at a time. A file in the format of
    torch before 1.6 is read whole. Raises ValueError, with reason and remedy, for a file that holds more than tensors,
    FormatError for a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        # the blocks of this mapping that were read, and the bytes of the tensors there
        self._blocks: set[int] = set()
        self._wanted = 0
        members = member_names(path)
        # torch takes any path of this suffix for another kind of file
        self._mapped = members is not None and path.suffix != SUFFIX
        if members is not None and "constants.pkl" in members:
            raise ValueError(
                f"{path}: is a TorchScript archive, code and all, which is not opened; {_REMEDY}; "
                "here model is torch.jit.load(...)"
            )
        if members is not None:
            check_members(path)
        if members is not None and "data.pkl" not in members:
            raise ValueError(
                f"{path}: is a zip archive, as NumPy's .npz files are, but none of torch.save: unpack it, or convert "
                "it first (safetensors.numpy.save_file)"
            )
        (tensors, self.metadata), self.notes = self._load()
        self._tensors: dict[str, Tensor] | None = tensors
        if not self._mapped:
            why = "is in the format of torch before 1.6" if members is None else f"is of torch, but named {SUFFIX}"
            self.notes += (f"It {why}, which is held in memory as a whole.",)
        self.entries = _entries(path, tensors)

    def _load(self) -> tuple[Parts, tuple[str, ...]]:
        return _state_in(self.path, _load(self.path, self._mapped))

    def read(self, name: str) -> DenseTensor:
        from deepcompression.tensors.from_torch import from_torch, shape_of

        entry = self.entries[name]
        with self._lock:
            if self._tensors is None:
                self._tensors = self._load()[0].tensors
            tensor = self._tensors.get(name)
        if tensor is None or shape_of(tensor) != entry.shape:
            raise FormatError(f"{self.path}: {name} is not what it was: the file changed while it was open")
        blocks = _blocks_of(tensor)
        tensor = tensor.detach().resolve_conj().resolve_neg()
        found = from_torch(name, tensor)
        if tensor.is_contiguous():
            # its memory is still the mapped file
            found = DenseTensor(found.dtype, found.elements.copy(), found.shape)
        with self._lock:
            self._blocks.update(blocks)
            self._wanted += entry.nbytes
            full = len(self._blocks) > _RENEW_BLOCKS and 8 * self._wanted > _RENEW_BLOCKS * _BLOCK_BYTES
            if self._mapped and full:
                # the last thread that reads from this mapping frees it
                self._tensors, self._blocks, self._wanted = None, set(), 0
        return found

    def close(self) -> None:
        self._tensors = {}


def _blocks_of(tensor: Tensor) -> range:
    """The blocks of memory that hold a tensor's elements."""
    if not tensor.numel():
        return range(0)
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    span = 1 + sum((size - 1) * stride for size, stride in strides)
    first = tensor.data_ptr()
    return range(first // _BLOCK_BYTES, (first + span * tensor.element_size() - 1) // _BLOCK_BYTES + 1)


def _load(path: Path, mapped: bool, again: bool = False) -> object:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path}: such files are read through torch, which is not installed: pip install torch, or save the "
            "tensors by safetensors.torch.save_file"
        ) from None
    try:
        with ExitStack() as stack:
            # of torch's own code, for quantized and complex tensors
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            source = path if mapped else stack.enter_context(path.open("rb"))
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    # a damaged pickle may raise anything
    except Exception as error:
        from deepcompression.checkpoint.torch_plain import allow_dtensors

        needed = _needed(path, str(error), mapped)
        if not again and (allow_dtensors(str(error)) or allow_parts(needed)):
            return _load(path, mapped, again=True)
        if needed:
            kind = "a whole module" if any(name.startswith("torch.nn.") for name in needed) else "objects"
            packed = not again and all(name.startswith(f"{PACKAGE}.") for name in needed)
            remedy = f"these are read where {PACKAGE} is installed: pip install {PACKAGE}" if packed else _REMEDY
            raise ValueError(
                f"{path}: holds {kind} that only code can make, and none is executed: {some(needed)}; {remedy}"
            ) from None
        reason = re.sub(r"(?s).*WeightsUnpickler error: ", "", str(error)).strip().partition("\n")[0]
        what = ": ".join(filter(None, [type(error).__name__, reason]))
        raise FormatError(
            f"{path}: not a sound file of torch.save: {what}; it is cut off, damaged, or of another kind"
        ) from None


def _needed(path: Path, error: str, mapped: bool) -> set[str]:
    """Names of the objects in the file beyond tensors and plain values."""
    from torch import serialization

    if "Weights only load failed" not in error:
        return set()
    names = set(re.findall(r"GLOBAL (\S+)", error))
    if mapped and names:
        names.update(serialization.get_unsafe_globals_in_checkpoint(path))
    return names


def _state_in(path: Path, found: object) -> tuple[Parts, tuple[str, ...]]:
    """The state_dict in a loaded object, as plain tensors, and notes on the objects that are left out.

    A mapping with tensors under one of the names `WRAPPERS` is unwrapped, repeatedly. Objects beside it (an optimizer,
    settings) are left out. So are values in the state_dict that are no tensors.
    """
    import torch

    from deepcompression.checkpoint.torch_plain import plain

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
    if hidden := [str(name) for name, value in found.items() if _has_tensors(value, list, tuple, set)]:
        raise ValueError(
            f"{path}: holds tensors{where} inside of lists or tuples, {some(hidden)} (as torch's own quantized modules "
            "pack weights), which have no names: save them by names of their own"
        )
    if not tensors and len(found):
        raise ValueError(f"{path}: there are no tensors in it, but {some(map(str, found))}; {_REMEDY}")
    if others := [str(name) for name in found if name not in tensors]:
        notes.append(f"Values that are no tensors are left out: {some(others)}.")
    try:
        whole, more = plain(tensors)
        return parts_of(whole), (*notes, *more)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _has_tensors(value: Any, *kinds: type) -> bool:
    """Whether tensors lie within nested mappings, or within collections of other kinds."""
    import torch

    inside: Any = value.values() if isinstance(value, Mapping) else value if isinstance(value, kinds) else ()
    return any(isinstance(inner, torch.Tensor) or _has_tensors(inner, *kinds) for inner in inside)


def _entries(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, TensorEntry]:
    """Raises ValueError for a tensor that no file can hold, FormatError for tensors that claim too much memory."""
    from deepcompression.tensors.from_torch import dtype_of, shape_of

    entries: dict[str, TensorEntry] = {}
    roots: dict[object, str] = {}
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ValueError(f"{path}: {name} is a tensor without memory (on the device meta), which no file can hold")
        entry = TensorEntry(name, dtype_of(f"{path}: {name}", tensor), shape_of(tensor))
        memory = tensor.data_ptr(), entry.dtype, entry.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg()
        root = roots.setdefault(memory, name) if entry.nbytes else name
        entries[name] = entry if root == name else TensorEntry(name, entry.dtype, entry.shape, root)
    if (claimed := sum(entry.nbytes for entry in entries.values())) > LIMIT_BYTES and claimed > path.stat().st_size:
        raise FormatError(f"{path}: its tensors claim {claimed} bytes, more than the file has and than {LIMIT_BYTES}")
    return entries
