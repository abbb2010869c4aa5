"""The bytes of a file by tensor and part, and the columns of the paper's tables 2 and 3."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from deepcompression.checkpoint.onnx.graph import GRAPH, holds_graph
from deepcompression.coding.coder import Account
from deepcompression.coding.gaps import fixed_layout
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.messages import printable
from deepcompression.common.units import times_smaller
from deepcompression.file.effect import OutputsChange, outputs_to_dict
from deepcompression.file.index import CHECKSUM_BYTES, Entry
from deepcompression.file.reader import DczFile
from deepcompression.tensors.dtypes import ROW_BITS, item_bits
from deepcompression.tensors.slices import stored_bits
from deepcompression.tensors.tensor import CompressedTensor, Tensor

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def code_bits(centroids: int) -> int:
    """Bits of a code of fixed width."""
    return max(1, math.ceil(math.log2(centroids))) if centroids else 0


@dataclass(frozen=True)
class Row:
    """One tensor of a file.

    `weights` and `survivors` are counts. `dense_bytes` are those of the dense tensor, `stored_bytes` those of the
    payload, `parts` the payload's by part; a tie has none. `gap_bits` and `entries` (survivors and fillers) are of the
    paper's layout before Huffman coding: as stored, or else with the gap width of the fewest bytes. All elements of a
    dtype of `ROW_BITS` count as survivors.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    coder: str
    tied_to: str | None
    weights: int
    survivors: int
    entries: int
    centroids: int
    gap_bits: int
    dense_bytes: int
    stored_bytes: int
    parts: dict[str, int]

    @classmethod
    def of(cls, entry: Entry, tensor: Tensor, account: Account) -> Row:
        weights = math.prod(entry.shape)
        if entry.dtype in ROW_BITS:
            account = account._replace(entries=weights, survivors=weights, gap_bits=0)
        gap_bits, entries = account.gap_bits, account.entries
        if 0 < account.survivors < weights and not gap_bits:
            bits = code_bits(account.centroids) or item_bits(entry.dtype)
            bitmap = tensor.bits if isinstance(tensor, CompressedTensor) else stored_bits(tensor.elements)
            gap_bits, entries = fixed_layout(bitmap, weights, account.survivors, bits)
        return cls(
            entry.name,
            entry.shape,
            entry.dtype,
            entry.coder,
            entry.tied_to,
            weights,
            account.survivors,
            entries,
            account.centroids,
            gap_bits,
            entry.nbytes,
            entry.length,
            dict(account.parts),
        )

    def as_graph(self) -> Row:
        """The row of an ONNX model's graph, whose bytes are no weights."""
        return replace(self, weights=0, survivors=0, entries=0, parts={"graph": self.stored_bytes})

    @property
    def density(self) -> float:
        return self.survivors / self.weights if self.weights else 0.0

    @property
    def weight_bits(self) -> int:
        """Bits of a code of fixed width (the paper's P+Q)."""
        return code_bits(self.centroids)

    @property
    def coded_together(self) -> bool:
        """Whether one part holds codes and positions, and no byte belongs to either alone."""
        return "codebook, mask and codes" in self.parts

    @property
    def _stored_entries(self) -> int:
        """The number of codes that are stored: only the paper's layout has fillers."""
        return self.entries if "gaps" in self.parts else self.survivors

    @property
    def weight_bits_coded(self) -> float:
        """Bits of a stored code (P+Q+H)."""
        return 8 * self.parts.get("codes", 0) / self._stored_entries if self.entries else 0.0

    @property
    def gap_bits_coded(self) -> float:
        """Bits of the position of a stored code (P+Q+H)."""
        positions = self.parts.get("gaps", 0) + self.parts.get("mask", 0)
        return 8 * positions / self._stored_entries if self.entries else 0.0

    @property
    def fixed_bytes(self) -> float:
        """Bytes before Huffman coding: codes or values, and gaps, of fixed width for all entries; and the codebook."""
        if self.tied_to:
            return 0
        if not self.weights:
            return self.dense_bytes
        entry_bits = self.weight_bits or item_bits(self.dtype)
        return (self.entries * (entry_bits + self.gap_bits) + self.centroids * item_bits(self.dtype)) / 8

    def to_dict(self) -> dict[str, Any]:
        computed = ("density", "weight_bits", "weight_bits_coded", "gap_bits_coded", "fixed_bytes")
        return asdict(self) | {name: getattr(self, name) for name in computed}


@dataclass(frozen=True)
class Report:
    """A whole file: its rows, and its bytes by part, whose sum is `file_bytes`.

    `work_bytes` are those of the work buffer that a device needs for a tensor, 0 without the coder `device`.
    `before` and `after` are the measurements of `compress`. `outputs` is the change of the network's outputs, if inputs
    measured it when the file was made.
    """

    file_bytes: int
    dense_bytes: int
    rows: tuple[Row, ...]
    parts: dict[str, int]
    before: float | None = None
    after: float | None = None
    outputs: OutputsChange | None = None
    work_bytes: int = 0

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str],
        limit_bytes: int = LIMIT_BYTES,
        before: float | None = None,
        after: float | None = None,
    ) -> Report:
        """Reads and decodes the whole file. Raises FormatError."""
        with DczFile(path, limit_bytes) as file:
            by_name: dict[str, Row] = {}
            for name, entry in file.all_entries.items():
                if (own := entry.tied_to) is None:
                    by_name[name] = Row.of(entry, *file.read_with_account(name))
                else:
                    by_name[name] = replace(
                        by_name[own], name=name, tied_to=own, dense_bytes=0, stored_bytes=0, parts={}
                    )
            if holds_graph(by_name, file.metadata):
                by_name[GRAPH] = by_name[GRAPH].as_graph()
            rows = tuple(by_name.values())
            checksums = CHECKSUM_BYTES * sum(row.tied_to is None for row in rows)
            parts = Counter({"header": file.head_bytes - file.index_bytes - CHECKSUM_BYTES})
            parts["index"] = file.index_bytes - checksums
            parts["checksums"] = checksums + CHECKSUM_BYTES
            for row in rows:
                # elements of a raw tensor and values of a pruned one count together
                parts.update({("dense tensors" if name == "values" else name): n for name, n in row.parts.items()})
            dense_bytes, outputs = sum(row.dense_bytes for row in rows), OutputsChange.of(file.metadata)
            return cls(file.size_bytes, dense_bytes, rows, dict(parts), before, after, outputs, file.work_bytes)

    @property
    def ratio(self) -> float:
        """Bytes of the dense tensors / bytes of the file."""
        return self.dense_bytes / self.file_bytes

    @property
    def fixed_bytes(self) -> float:
        """Bytes of all tensors before Huffman coding (the paper's P+Q)."""
        return sum(row.fixed_bytes for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """All fields and computed numbers, ready for JSON; the change of the outputs if it was measured."""
        fields = {name: value for name, value in asdict(self).items() if name != "outputs"}
        outputs = {} if self.outputs is None else outputs_to_dict(self.outputs)
        return fields | {
            "ratio": self.ratio,
            "fixed_bytes": self.fixed_bytes,
            "rows": [row.to_dict() for row in self.rows],
            **outputs,
        }

    def tables(self) -> Iterable[Table]:
        """The paper's columns by tensor, and the bytes by part, for a rich console."""
        table = _table(_HEADINGS, "P pruned, Q shared, H Huffman-coded; rates are parts of the dense size")
        for row in self.rows:
            table.add_row(*_cells(row))
        table.add_section()
        survivors, weights = (
            sum(getattr(row, name) for row in self.rows if not row.tied_to) for name in ("survivors", "weights")
        )
        table.add_row(
            *("total", "", f"{weights:,}", _percent(survivors, weights)),
            *(_mean_bits(self.rows, name, "centroids") for name in ("weight_bits", "weight_bits_coded")),
            *(_mean_bits(self.rows, name, "gap_bits") for name in ("gap_bits", "gap_bits_coded")),
            *(_percent(self.fixed_bytes, self.dense_bytes), _percent(self.file_bytes, self.dense_bytes)),
            *(f"{self.file_bytes:,}", ""),
        )
        yield table
        caption = "no tensors"
        if self.dense_bytes:
            caption = f"{times_smaller(self.dense_bytes, self.file_bytes)} than {self.dense_bytes:,} bytes"
        if self.work_bytes:
            caption += f"; a device needs a work buffer of {self.work_bytes:,} bytes"
        bytes_table = _table(("part", "bytes", "share"), caption)
        for part, count in sorted(self.parts.items(), key=lambda item: -item[1]):
            bytes_table.add_row(part, f"{count:,}", _percent(count, self.file_bytes))
        bytes_table.add_section()
        bytes_table.add_row("file", f"{self.file_bytes:,}", "100.00%")
        yield bytes_table


_HEADINGS = (
    *("tensor", "shape", "weights", "W% (P)", "w bits P+Q", "w bits P+Q+H", "i bits P+Q", "i bits P+Q+H"),
    *("rate P+Q", "rate P+Q+H", "bytes", "coder"),
)


# columns that a narrow terminal may leave out, in this order
SPARE = ("w bits P+Q", "i bits P+Q", "rate P+Q", "w bits P+Q+H", "i bits P+Q+H", "coder", "shape", "W% (P)")


def _table(headings: Sequence[str], caption: str) -> Table:
    """Names in the first column, numbers in all others."""
    from rich.table import Table
    from rich.text import Text

    # a caption may be wider than its table
    table = Table(*headings, caption=Text(caption, no_wrap=True, overflow="ignore"))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _cells(row: Row) -> tuple[str | Text, ...]:
    from rich.text import Text

    # a Text: brackets in a name are no markup
    name = Text(printable(row.name))
    shape = "x".join(map(str, row.shape)) or "scalar"
    if row.tied_to:
        return (name, shape, *[""] * 8, "0", Text(f"= {printable(row.tied_to)}"))
    shared, pruned = row.centroids > 0, row.gap_bits > 0
    return (
        name,
        shape,
        f"{row.weights:,}" if row.weights else "-",
        _percent(row.survivors, row.weights),
        str(row.weight_bits) if shared else "-",
        f"{row.weight_bits_coded:.1f}" if shared and not row.coded_together else "-",
        str(row.gap_bits) if pruned else "-",
        f"{row.gap_bits_coded:.1f}" if pruned and not row.coded_together else "-",
        _percent(row.fixed_bytes, row.dense_bytes),
        _percent(row.stored_bytes, row.dense_bytes),
        f"{row.stored_bytes:,}",
        row.coder,
    )


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f}%" if whole else "-"


def _mean_bits(rows: Iterable[Row], name: str, needed: str) -> str:
    """The mean over all entries of the rows where `needed` is not zero. Rows with codes and positions coded together
    do not count for coded bits.
    """
    coded = name.endswith("_coded")
    having = [row for row in rows if getattr(row, needed) and not row.tied_to and not (coded and row.coded_together)]
    entries = sum(row.entries for row in having)
    return f"{sum(getattr(row, name) * row.entries for row in having) / entries:.1f}" if entries else "-"
