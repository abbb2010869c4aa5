"""Tensors that other tools pruned or quantized, recognised by names and dtypes: made plain, or kept as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from deepcompression.checkpoint.checkpoint import Checkpoint, Opened
from deepcompression.common.messages import some
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, widen
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

PRUNE, UNKNOWN = "torch.nn.utils.prune", "unknown"


@dataclass(frozen=True)
class Recognised:
    """The traces of one tool in a checkpoint.

    kind     its name, or `UNKNOWN`
    tensors  by their names in the file
    what     a sentence for people
    """

    kind: str
    tensors: tuple[str, ...]
    what: str


class _Part(NamedTuple):
    """A tensor of the file, and the mask that belongs to it."""

    name: str
    mask: str | None = None


class RecognisedCheckpoint(Opened):
    """A checkpoint in which unfinished pruning is finished: `x_orig` and `x_mask` are the one tensor `x`, zero (without
    a sign) where the mask is.

    recognised  the traces of tools, and tensors that look packed by an unknown one
    exact       packed weights, their scales and zero points
    """

    def __init__(self, source: Checkpoint) -> None:
        self._source = source
        self.path, self.metadata, self.graph = source.path, source.metadata, source.graph
        parts = dict(_parts(source))
        self.recognised = (*_pruned(parts), *_quantized(source))
        self.exact = frozenset(name for found in self.recognised if found.kind != PRUNE for name in found.tensors)
        self.notes = (*source.notes, *(found.what for found in self.recognised))
        self._parts = parts
        self.entries: dict[str, TensorEntry] = {}
        roots: dict[_Part, str] = {}
        for name, part in parts.items():
            entry = source.entries[part.name]
            # a tie of the file is one here if the masks are tied, too
            mask = None if part.mask is None else _root(source, part.mask)
            root = roots.setdefault(_Part(_root(source, part.name), mask), name)
            self.entries[name] = TensorEntry(name, entry.dtype, entry.shape, None if root == name else root)
        self.packed = self._packed()

    def _packed(self) -> str:
        """The reason where all weights are exact; empty where some are not."""
        entries = self.entries.values()
        free = (each for each in entries if each.dtype in WEIGHT_DTYPES and each.name not in self.exact)
        if not self.exact or any(len(each.shape) >= 2 and each.nbytes for each in free):
            return ""
        kinds = [found.kind for found in self.recognised if found.kind != PRUNE]
        tools = [f"by {kind}" if kind != UNKNOWN else "in a way that is not recognised" for kind in kinds]
        return (
            f"{self.path}: its weights are packed already, {' and '.join(tools)}, and are kept bit for bit, so that "
            "nothing is left to be pruned or shared: compress it without recipe and target"
        )

    def read(self, name: str) -> DenseTensor:
        part = self._parts[name]
        tensor = self._source.read(part.name)
        if part.mask is not None:
            tensor.elements[self._source.read(part.mask).elements == 0] = 0
        return tensor

    def close(self) -> None:
        self._source.close()


def recognise(source: Checkpoint) -> RecognisedCheckpoint:
    """The same checkpoint with what other tools left in it recognised. Reads the masks of pruning, nothing else."""
    return RecognisedCheckpoint(source)


def _root(source: Checkpoint, name: str) -> str:
    return source.entries[name].tied_to or name


def _parts(source: Checkpoint) -> Iterator[tuple[str, _Part]]:
    """Every tensor by the name it is to have, with what it is made of."""
    masked = {}
    for name in source.entries:
        plain = name.removesuffix("_orig")
        if plain != name and plain not in source.entries and _is_mask(source, f"{plain}_mask", name):
            masked[name] = _Part(name, f"{plain}_mask")
    masks = {part.mask for part in masked.values()}
    for name in source.entries:
        if name not in masks:
            yield name.removesuffix("_orig") if name in masked else name, masked.get(name, _Part(name))


def _is_mask(source: Checkpoint, mask: str, weight: str) -> bool:
    """Whether there is such a tensor of zeros and ones, in the shape of the weight."""
    entry, of = source.entries.get(mask), source.entries[weight]
    if entry is None or entry.shape != of.shape or of.dtype not in WEIGHT_DTYPES:
        return False
    if entry.dtype not in (*WEIGHT_DTYPES, "BOOL", "U8", "I8"):
        return False
    values = widen(source.read(mask).elements, entry.dtype)
    return bool(((values == 0) | (values == 1)).all())


def _pruned(parts: Mapping[str, _Part]) -> Iterator[Recognised]:
    found = {name: part for name, part in parts.items() if part.mask is not None}
    if found:
        tensors = tuple(name for part in found.values() for name in part if name is not None)
        what = f"{len(found)} tensors are pruned by {PRUNE}, unfinished ({some(found)}): masks are applied."
        yield Recognised(PRUNE, tensors, what)


def _quantized(source: Checkpoint) -> Iterator[Recognised]:
    layers: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in source.entries.items():
        layer, _, local = name.rpartition(".")
        layers.setdefault(layer, {})[local] = entry
    tensors: dict[str, dict[str, None]] = {}
    counts: dict[str, int] = {}
    claimed = _of_torchao(source)
    if claimed:
        tensors["torchao"] = dict.fromkeys(claimed)
        counts["torchao"] = len({name for names in claimed.values() for name in names})
    for parts in layers.values():
        # a weight that torchao's metadata name counts once
        free = {local: entry for local, entry in parts.items() if entry.name not in claimed}
        for kind, rule in _RULES.items():
            if locals_ := rule(free):
                tensors.setdefault(kind, {}).update(dict.fromkeys(free[local].name for local in sorted(locals_)))
                counts[kind] = counts.get(kind, 0) + 1
                break
    if source.graph is not None and (names := list(_of_onnx_runtime(source.entries))):
        tensors["ONNX Runtime"] = dict.fromkeys(names)
        counts["ONNX Runtime"] = sum(name.endswith("_quantized") for name in names)
    for kind, found in tensors.items():
        known = f"{counts[kind]} weights are quantized by {kind}"
        unknown = f"{len(found)} tensors look packed or quantized in a way that is not recognised"
        what = f"{unknown if kind == UNKNOWN else known} ({some(found, 4)}): kept bit for bit."
        yield Recognised(kind, tuple(found), what)


def _of_torchao(source: Checkpoint) -> dict[str, list[str]]:
    """Tensor -> the weights it is a part of: safetensors metadata lists the weights, each with its class, and the names
    of parts begin with the weight's (`fc.weight:qdata`, `fc._weight_qdata`).
    """
    weights: list[str] = []
    for key, text in source.metadata.items():
        if key == "tensor_names" or key.endswith(": tensor_names"):
            listed = _json(text)
            weights += [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    claimed: dict[str, list[str]] = {}
    for weight in weights:
        told = _json(source.metadata.get(weight, "null"))
        if isinstance(told, dict) and told.get("_type", "Tensor") not in ("Tensor", "torch.Tensor"):
            layer, dot, local = weight.rpartition(".")
            for name in source.entries:
                if name.startswith((f"{weight}:", f"{layer}{dot}_{local}_")):
                    claimed.setdefault(name, []).append(weight)
    return claimed


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


Parts = Mapping[str, TensorEntry]

_INTEGERS = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
_CODES = (*_INTEGERS, "F8_E4M3", "F8_E5M2")


def _compressed_tensors(parts: Parts) -> set[str]:
    """`weight_packed` with scales; or `weight` in 8 bits with scales; or a bitmask and what it selects."""
    around = {
        local for local in parts if local.startswith(("weight_", "input_", "output_")) and local != "weight_packed"
    }
    if parts.keys() >= {"weight_packed", "weight_scale"} and parts["weight_packed"].dtype in _INTEGERS:
        return around | {"weight_packed"}
    scaled = parts.keys() >= {"weight", "weight_scale"} and "weight_packed" not in parts
    if scaled and parts["weight"].dtype in ("I8", "U8", "F8_E4M3", "F8_E5M2"):
        return around | {"weight"}
    if parts.keys() >= {"compressed", "bitmask"} and parts["bitmask"].dtype == "U8":
        return {"compressed", "bitmask", "shape", "row_offsets"} & parts.keys()
    return set()


def _packed_columns(parts: Parts) -> int | None:
    """How many columns of scales there are for each of packed weights: 1 for GPTQ, which packs rows; for AWQ, which
    packs columns, as many weights as a word holds.
    """
    if not parts.keys() >= {"qweight", "qzeros", "scales"} or parts["qweight"].dtype not in ("I32", "U32"):
        return None
    packed, scales = parts["qweight"].shape, parts["scales"].shape
    if len(packed) != 2 or len(scales) != 2 or not packed[1] or scales[1] % packed[1]:
        return None
    return scales[1] // packed[1]


def _gptq(parts: Parts) -> set[str]:
    return {"qweight", "qzeros", "scales", "g_idx"} & parts.keys() if _packed_columns(parts) == 1 else set()


def _awq(parts: Parts) -> set[str]:
    """In the layout of its kernel GEMM, or of GEMV and GEMVFast, which keep outputs in rows."""
    own = {"qweight", "qzeros", "scales"}
    if "g_idx" in parts or not parts.keys() >= own:
        return set()
    weight, zeros, scales = parts["qweight"], parts["qzeros"], parts["scales"]
    if len(weight.shape) != 2 or len(zeros.shape) != 2 or len(scales.shape) != 2:
        return set()
    (rows, _), (outputs, columns) = weight.shape, scales.shape
    gemv = weight.dtype == zeros.dtype == "I32" and zeros.shape == (rows, -(-columns // 8)) and outputs == rows
    fast = weight.dtype == "I16" and zeros.shape == scales.shape and zeros.dtype == scales.dtype and columns == 4 * rows
    return own if gemv or fast or _packed_columns(parts) == 8 else set()


# names that only quantizers give: those above where the rest does not fit, bitsandbytes, HQQ, EXL2
_SUSPECT = {
    *("weight_packed", "qweight", "qzeros", "SCB", "absmax", "quant_map", "nested_absmax", "nested_quant_map"),
    *("bitsandbytes__nf4", "bitsandbytes__fp4", "W_q", "q_weight", "q_scale", "q_scale_max", "q_invperm", "q_perm"),
}
# names that mean it only beside integers or 8-bit floats
_SCALES = {
    *("scale", "scales", "scale_packed", "weight_scale", "weight_scale_inv", "input_scale", "zero", "zeros"),
    *("zero_point", "weight_zero_point", "g_idx", "meta", "weight_format"),
}


def _suspect(parts: Parts) -> set[str]:
    """Those, and the tensors beside them that are no ordinary floats."""
    codes = {local for local, entry in parts.items() if entry.dtype in _CODES and local != "num_batches_tracked"}
    found = _SUSPECT & parts.keys() | (_SCALES & parts.keys() if codes else set())
    return found | codes if found else set()


# the first that finds something in a layer has it
_RULES: dict[str, Callable[[Parts], set[str]]] = {
    "compressed-tensors": _compressed_tensors,
    "GPTQ": _gptq,
    "AWQ": _awq,
    UNKNOWN: _suspect,
}


def _of_onnx_runtime(entries: Mapping[str, TensorEntry]) -> Iterator[str]:
    """`w_quantized` in 8 bits, with what of `w_scale` and `w_zero_point` is large enough to be no part of the graph."""
    for name, entry in entries.items():
        plain = name.removesuffix("_quantized")
        if plain != name and entry.dtype in ("I8", "U8", "F8_E4M3"):
            yield from (n for n in (name, f"{plain}_scale", f"{plain}_zero_point") if n in entries)
