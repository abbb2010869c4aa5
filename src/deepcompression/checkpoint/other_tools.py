"""Tensors that other tools pruned or quantized, recognised by names and dtypes: masks applied, or kept exact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.mid_stage import finished
from deepcompression.checkpoint.onnx.quantized import quantized_by_nodes
from deepcompression.checkpoint.packed_codes import beside_codes
from deepcompression.common.messages import are, counted, some
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, widen
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

PRUNE, UNKNOWN = "torch.nn.utils.prune", "unknown"


@dataclass(frozen=True)
class Recognised:
    """The traces of one tool in a checkpoint.

    kind     the tool's name, or `UNKNOWN`
    tensors  their names in the file
    what     a sentence for people
    """

    kind: str
    tensors: tuple[str, ...]
    what: str


class _Part(NamedTuple):
    """A tensor of the file and its mask."""

    name: str
    mask: str | None = None


class RecognisedCheckpoint(Checkpoint):
    """A checkpoint with unfinished pruning finished: `x_orig` and `x_mask` become the tensor `x`, which is +0 where the
    mask is 0.

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
            # a tie of the file holds if the masks are tied, too
            mask = None if part.mask is None else _root(source, part.mask)
            root = roots.setdefault(_Part(_root(source, part.name), mask), name)
            self.entries[name] = replace(entry, name=name, tied_to=None if root == name else root)
        self.packed = self._packed()
        if source.folder is not None:
            self.folder, more = source.folder.around_tensors(self.entries)
            self.notes += more

    def _packed(self) -> str:
        """The reason if all weights are exact; else empty."""
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
    """The same checkpoint, with the traces of other tools recognised, and our own stages finished. Reads the masks of
    pruning, and integers beside floats. Raises the errors of `finished`.
    """
    return RecognisedCheckpoint(finished(source))


def exact_in(source: Checkpoint) -> frozenset[str]:
    """The names of packed codes and of what belongs to them in any checkpoint."""
    if isinstance(source, RecognisedCheckpoint):
        return source.exact
    return source.exact.union(*(found.tensors for found in _quantized(source)))


def _root(source: Checkpoint, name: str) -> str:
    return source.entries[name].tied_to or name


def _parts(source: Checkpoint) -> Iterator[tuple[str, _Part]]:
    """Every tensor's final name, with its parts."""
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
    """Whether a tensor of this name holds zeros and ones alone, in the shape of the weight."""
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
        pruned = f"{counted(len(found), 'tensor')} {are(len(found))} pruned by {PRUNE}, unfinished"
        what = f"{pruned} ({some(found)}): masks are applied."
        yield Recognised(PRUNE, tensors, what)


def _quantized(source: Checkpoint) -> Iterator[Recognised]:
    if source.graph is not None:
        # names say nothing where nodes say all
        weights = {"ONNX operators": quantized_by_nodes(source.graph)}
    else:
        weights = _known_tools(source)
        claimed = frozenset(name for each in weights.values() for name in chain(*each))
        weights[UNKNOWN] = list(beside_codes(source.entries, lambda name: source.read(name).elements, claimed))
    for kind, parts_of_weights in weights.items():
        if tensors := tuple(dict.fromkeys(chain(*parts_of_weights))):
            count = len(parts_of_weights)
            known = f"{counted(count, 'weight')} {are(count)} quantized by {kind}"
            unknown = f"{counted(len(tensors), 'tensor')} may be packed or quantized in a way that is not recognised"
            what = f"{unknown if kind == UNKNOWN else known} ({some(tensors, 4)}): kept bit for bit."
            yield Recognised(kind, tensors, what)


def _known_tools(source: Checkpoint) -> dict[str, list[list[str]]]:
    """The parts of each weight, by the tool that quantized it."""
    weights = {"torchao": list(_of_torchao(source))}
    claimed = frozenset(chain(*weights["torchao"]))
    layers: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in source.entries.items():
        # a weight that torchao's metadata name counts once
        if name not in claimed:
            layer, _, local = name.rpartition(".")
            layers.setdefault(layer, {})[local] = entry
    for each in layers.values():
        for kind, rule in _RULES.items():
            if found := rule(each):
                weights.setdefault(kind, []).append([each[local].name for local in sorted(found)])
                break
    return weights


def _of_torchao(source: Checkpoint) -> Iterator[list[str]]:
    """The parts of each weight: safetensors metadata list the weights, each with its class, and the names of parts
    begin with the weight's (`fc.weight:qdata`, `fc._weight_qdata`).
    """
    texts = [t for key, t in source.metadata.items() if key == "tensor_names" or key.endswith(": tensor_names")]
    lists = [names for names in map(_json, texts) if isinstance(names, list)]
    for weight in dict.fromkeys(name for name in chain(*lists) if isinstance(name, str)):
        described = _json(source.metadata.get(weight, "null"))
        if isinstance(described, dict) and described.get("_type", "Tensor") not in ("Tensor", "torch.Tensor"):
            layer, dot, local = weight.rpartition(".")
            if parts := [n for n in source.entries if n.startswith((f"{weight}:", f"{layer}{dot}_{local}_"))]:
                yield parts


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# the tensors of one layer by their local names
Layer = Mapping[str, TensorEntry]

_INTEGERS = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")


def _compressed_tensors(layer: Layer) -> set[str]:
    """`weight_packed` with scales; or `weight` in 8 bits with scales; or a bitmask and the weights it selects."""
    around = {local for local in layer if local.startswith(("weight_", "input_", "output_"))}
    if layer.keys() >= {"weight_packed", "weight_scale"} and layer["weight_packed"].dtype in _INTEGERS:
        return around
    scaled = layer.keys() >= {"weight", "weight_scale"} and "weight_packed" not in layer
    if scaled and layer["weight"].dtype in ("I8", "U8", "F8_E4M3", "F8_E5M2"):
        return around | {"weight"}
    if layer.keys() >= {"compressed", "bitmask"} and layer["bitmask"].dtype == "U8":
        return {"compressed", "bitmask", "shape", "row_offsets"} & layer.keys()
    return set()


def _packed_columns(layer: Layer) -> int | None:
    """Columns of scales per column of packed weights: 1 for GPTQ, which packs rows; the weights of a word for AWQ,
    which packs columns.
    """
    if not layer.keys() >= {"qweight", "qzeros", "scales"} or layer["qweight"].dtype not in ("I32", "U32"):
        return None
    packed, scales = layer["qweight"].shape, layer["scales"].shape
    if len(packed) != 2 or len(scales) != 2 or not packed[1] or scales[1] % packed[1]:
        return None
    return scales[1] // packed[1]


def _gptq(layer: Layer) -> set[str]:
    return {"qweight", "qzeros", "scales", "g_idx"} & layer.keys() if _packed_columns(layer) == 1 else set()


def _awq(layer: Layer) -> set[str]:
    """The layout of the kernel GEMM, or of GEMV and GEMVFast, which keep outputs in rows."""
    own = {"qweight", "qzeros", "scales"}
    if "g_idx" in layer or not layer.keys() >= own:
        return set()
    weight, zeros, scales = layer["qweight"], layer["qzeros"], layer["scales"]
    if len(weight.shape) != 2 or len(zeros.shape) != 2 or len(scales.shape) != 2:
        return set()
    (rows, _), (outputs, columns) = weight.shape, scales.shape
    gemv = weight.dtype == zeros.dtype == "I32" and zeros.shape == (rows, -(-columns // 8)) and outputs == rows
    fast = weight.dtype == "I16" and zeros.shape == scales.shape and zeros.dtype == scales.dtype and columns == 4 * rows
    return own if gemv or fast or _packed_columns(layer) == 8 else set()


# the first rule that finds tensors in a layer takes them
_RULES: dict[str, Callable[[Layer], set[str]]] = {
    "compressed-tensors": _compressed_tensors,
    "GPTQ": _gptq,
    "AWQ": _awq,
}
