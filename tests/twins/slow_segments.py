"""The forms in segments, read from their bytes as core/packed/segments/segments.hpp and each form's header describe:
slow and obvious.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.packed import packing

HEADER = struct.Struct("<4sBBBBQQQIIQffQ")
FOUR = 4

# A section's name, the dtype and the count of its numbers.
Section = tuple[str, str, Callable[[SimpleNamespace], int]]


class Form(NamedTuple):
    name: str
    number: int
    group_rows: int
    activations: str  # the kind that it is made for
    before: tuple[Section, ...]  # sections before the ends
    behind: tuple[Section, ...]  # sections behind the turns
    survivors: Callable[[SimpleNamespace, int, int], Iterator[tuple[int, int]]]

    def pack(self, tensor: Any) -> Any:
        packed = packing.pack(tensor, self.activations, form=self.name)
        assert packing.header(packed).form == self.name
        return packed


def _of_panel(parts: SimpleNamespace, turn: int, lane: int) -> Iterator[tuple[int, int]]:
    entry = int(parts.entries[FOUR * turn + lane])
    yield entry >> 8, entry & 255


def _of_quad(parts: SimpleNamespace, turn: int, lane: int) -> Iterator[tuple[int, int]]:
    for entry in parts.entries[FOUR * turn : FOUR * (turn + 1)].tolist():
        yield entry >> parts.code_bits, entry & (1 << parts.code_bits) - 1


def _of_factored(parts: SimpleNamespace, turn: int, lane: int) -> Iterator[tuple[int, int]]:
    four = FOUR * turn + lane
    for column in parts.columns_of_fours[FOUR * four : FOUR * (four + 1)].tolist():
        yield column, int(parts.codes[four])


FORMS = {
    form.name: form
    for form in (
        Form("panel", 2, 4, "float32", (), (("entries", "<u2", lambda parts: FOUR * parts.length),), _of_panel),
        Form(
            "quad",
            4,
            1,
            "int8",
            (("digits", "i1", lambda parts: 1 << parts.code_bits), ("sums", "<i4", lambda parts: parts.rows)),
            (("entries", "<u2", lambda parts: FOUR * parts.length),),
            _of_quad,
        ),
        Form(
            "factored",
            5,
            4,
            "float32",
            (),
            (
                ("columns_of_fours", "<u2", lambda parts: FOUR * FOUR * parts.length),
                ("codes", "u1", lambda parts: FOUR * parts.length),
            ),
            _of_factored,
        ),
    )
}


def sections(form: Form, packed: Any) -> SimpleNamespace:
    """The parts of packed bytes."""
    data = packed.tobytes()
    magic, number, code_bits, *_, rows, columns, _, _, units, length, _, _, size = HEADER.unpack_from(data)
    assert (magic, number, size) == (b"dcp1", form.number, len(data))
    block_columns, panel_rows, groups = struct.unpack_from("<IIQ", data, 64)
    parts = SimpleNamespace(rows=rows, columns=columns, code_bits=code_bits, length=length)
    parts.block_columns, parts.panel_rows, parts.blocks = block_columns, panel_rows, -(-columns // block_columns)
    assert units == -(-rows // panel_rows)
    at = 128

    def take(name: str, kind: str, count: int) -> None:
        nonlocal at
        found = np.frombuffer(data, kind, count, at)
        at += -(-found.nbytes // 64) * 64
        setattr(parts, name, found)

    take("codebook", "<f4", 1 << code_bits)
    for name, kind, count in form.before:
        take(name, kind, count(parts))
    take("ends", "<u4", 2 * units * parts.blocks)
    take("group_rows", "<u2", form.group_rows * groups)
    take("turns", "<u2", groups)
    for name, kind, count in form.behind:
        take(name, kind, count(parts))
    assert at == len(data)
    return parts


def unpacked(form: Form, packed: Any) -> tuple[NDArray[np.int64], int]:
    """The code of each element, -1 where nothing survives, and the number of empty places."""
    parts = sections(form, packed)
    codes = np.full((parts.rows, parts.columns), -1, np.int64)
    first_group = turn = nothing = 0
    for segment, (last_group, last_turn) in enumerate(parts.ends.reshape(-1, 2).tolist()):
        panel, block = divmod(segment, max(parts.blocks, 1))
        assert (np.diff(parts.turns[first_group:last_group].astype(int)) <= 0).all()
        for group in range(first_group, last_group):
            behind = turn + int(parts.turns[group])
            rows = parts.group_rows[form.group_rows * group : form.group_rows * (group + 1)].tolist()
            for lane, row in enumerate(rows):
                for local, code in (found for t in range(turn, behind) for found in form.survivors(parts, t, lane)):
                    if local == parts.block_columns:
                        assert np.isfinite(parts.codebook[code])
                        nothing += 1
                        continue
                    at = (panel * parts.panel_rows + row, block * parts.block_columns + local)
                    assert codes[at] == -1
                    codes[at] = code
            turn = behind
        first_group = last_group
        assert turn == last_turn
    return codes, nothing


def weights(codes: NDArray[np.int64], of: NDArray[Any]) -> NDArray[Any]:
    """The value `of` its code for each survivor, zeros between them."""
    return np.where(codes >= 0, np.append(of, 0)[codes], 0)
