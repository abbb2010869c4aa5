"""Floats that belong to packed codes, such as scales and zero points: known by where they lie, whatever the tool."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from deepcompression.tensors.dtypes import WEIGHT_DTYPES, Array
from deepcompression.tensors.entry import TensorEntry

# Fewer integers beside floats are shapes, counters and the like.
_LEAST_CODES = 16

# Every layer has a bias of its own; a counter of batches belongs to a normalisation.
_OWN = ("bias", "num_batches_tracked")

# What codes of any width select from.
_TABLES = ("centroid", "codebook")

# Scales of blocks of 16 codes of 4 bits have an eighth of an element for each byte of codes.
_BYTES_PER_FLOAT = 8


def beside_codes(
    entries: Mapping[str, TensorEntry], read: Callable[[str], Array | None], claimed: Collection[str] = ()
) -> Iterator[list[str]]:
    """Each tensor of packed codes with the tensors that belong to it, where one of these is floating.

    read     gives the elements of a tensor, or None if they are not at hand; called for integers beside floats
    claimed  names that are known already, and come no more

    Codes are floats of at most 8 bits, and integers of 8 to 32 bits with more than two distinct values, unless they
    count up: the others are masks and positions. So are integers of 64 bits beside a codebook. Codes of any dtype are
    what has tensors under its name (`weight`, `weight.absmax`), as no plain parameter has.

    To codes belong the tensors of their module but its bias, and those whose names begin with theirs. A part with a
    leading underscore (`weight._data`) counts to the part before it. Tensors further down in their module, and tensors
    beside codes without a module, belong to them if they are as small as scales, or named as codebooks. So do those
    whose names begin with the module's (`weight_scale` beside `weight.codes`). Those of a module just below, such as
    `centroids.weight`, belong to them if they are as small as codebooks, which take no more bytes than their codes.
    """
    names = sorted(entries)
    taken = set(claimed)
    for name in names:
        if name in taken and name not in claimed:
            continue
        found = list(_beginning(f"{name}.", names))
        sure = bool(found) or name in claimed or entries[name].dtype.startswith("F")
        around = _around(entries[name], entries, names) if _may_be_codes(entries[name]) else []
        if entries[name].dtype.endswith("64") and not any(map(_is_table, around)):
            around = []
        found += around
        own = [each for each in dict.fromkeys([name, *found]) if each not in taken]
        if not any(entries[each].dtype in WEIGHT_DTYPES for each in own) or not found:
            continue
        if sure or _look_like_codes(read(name)):
            taken.update(own)
            yield own


def _is_table(name: str) -> bool:
    """Whether the last parts of a name say so (`centroids.weight`)."""
    return any(table in part for part in name.split(".")[-2:] for table in _TABLES)


def _may_be_codes(entry: TensorEntry) -> bool:
    if entry.dtype.startswith("F"):
        return entry.dtype not in WEIGHT_DTYPES
    return entry.dtype[0] in "IU" and math.prod(entry.shape) >= _LEAST_CODES


def _around(codes: TensorEntry, entries: Mapping[str, TensorEntry], names: Sequence[str]) -> list[str]:
    """The tensors that belong to codes, among all names, sorted."""
    parts = codes.name.split(".")
    while len(parts) > 1 and parts[-1].startswith("_"):
        parts.pop()
    owner, module = ".".join(parts), "".join(f"{part}." for part in parts[:-1])
    found = dict.fromkeys(each for start in (f"{owner}.", f"{owner}:") for each in _beginning(start, names))
    for each in _beginning(module, names):
        below = each.count(".", len(module))
        small = math.prod(entries[each].shape) * _BYTES_PER_FLOAT <= codes.nbytes
        codebook = _is_table(each[len(module) :]) or (below == 1 and entries[each].nbytes <= codes.nbytes)
        if (below == 0 or small or codebook) if module else (below == 0 and small):
            found[each] = None
    # `weight_scale` beside `weight.codes`
    for each in _beginning(f"{module[:-1]}_", names) if module else ():
        if "." not in each[len(module) :] and math.prod(entries[each].shape) * _BYTES_PER_FLOAT <= codes.nbytes:
            found[each] = None
    return [each for each in found if each.rpartition(".")[2] not in _OWN]


def _beginning(start: str, names: Sequence[str]) -> Iterator[str]:
    for at in range(bisect_left(names, start), len(names)):
        if not names[at].startswith(start):
            return
        yield names[at]


def _look_like_codes(elements: Array | None) -> bool:
    """Whether there may be more than two distinct values, which do not just count up, as positions do."""
    if elements is None:
        return True
    flat = elements.reshape(-1)
    # a few of them usually show it
    return _vary(flat[:4096]) or _vary(flat)


def _vary(values: Array) -> bool:
    counts_up = bool((values[1:] == values[:-1] + 1).all())
    return not counts_up and bool(((values != values.min()) & (values != values.max())).any())
