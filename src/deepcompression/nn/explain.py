"""The explanation of a running model: for each weight the kernel, the reason for it, and the bytes held."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from deepcompression.common.extras import named_extra
from deepcompression.common.messages import counted, show
from deepcompression.recipe.targets import unwrapped

if TYPE_CHECKING:
    from torch.nn import Module

    from deepcompression.nn.stand_in import StandIn
    from deepcompression.nn.what_pays import Expected

_DENSE, _UNREAD = "dense", "unread"
_WIDTH = 160
_KEPT = "; kept dense as well, which is faster for inputs that it had"


@dataclass(frozen=True)
class Kernel:
    """One weight and the kernel that computes from it.

    names            more than one for a tied weight
    form             of the packed bytes, or `dense`, or `unread`: lazy=True reads it at its first use
    arithmetic       empty for a dense weight
    instruction_set  of the CPU, or what computes on another device; empty for a dense weight
    dense_bytes      size of the dense weight; 0 for a second form of a tied weight
    expected         times of a call, dense and packed, by the table of costs or, with `tune=True`, measured; empty
                     where they decided nothing
    """

    names: tuple[str, ...]
    module: str
    shape: tuple[int, ...]
    form: str
    arithmetic: str
    instruction_set: str
    why: str
    bytes: int
    dense_bytes: int
    density: float | None
    centroids: int | None
    expected: tuple[Expected, ...] = ()

    @property
    def packed(self) -> bool:
        return self.form not in (_DENSE, _UNREAD)


@dataclass(frozen=True)
class Explanation:
    """All weights. Prints as a table; `bytes` and `dense_bytes` are the sums over its rows. Times are expected, from a
    table that was measured elsewhere, or by short measurements here (`tune=True`). `dcz bench` measures longer.
    """

    rows: tuple[Kernel, ...]

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)

    @property
    def dense_bytes(self) -> int:
        return sum(row.dense_bytes for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The explanation in types that JSON has."""
        rows = [asdict(row) | {"expected": [each._asdict() for each in row.expected]} for row in self.rows]
        return {"rows": rows, "bytes": self.bytes, "dense_bytes": self.dense_bytes}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        caption = (
            f"{self.bytes:,} bytes are held, dense {self.dense_bytes:,}. Times are expected ones for so many vectors "
            "at once: a sequence is as many as it has tokens. `dcz bench FILE` measures them"
        )
        table = Table("weight", "module", "shape", "kernel", caption=caption)
        # folds names, never cuts them
        for column in table.columns[:2]:
            column.overflow = "fold"
        for heading in ("bytes", "dense bytes", "density", "centroids"):
            table.add_column(heading, justify="right")
        table.add_column("why")
        for row in self.rows:
            # Texts, since a name such as a[b] is no markup
            table.add_row(
                Text(" = ".join(row.names)),
                Text(row.module),
                "x".join(map(str, row.shape)),
                " ".join(part for part in (row.form, row.arithmetic, row.instruction_set) if part),
                f"{row.bytes:,}",
                f"{row.dense_bytes:,}",
                "-" if row.density is None else f"{100 * row.density:.3g}%",
                "-" if row.centroids is None else str(row.centroids),
                Text(row.why),
            )
        yield table

    def __repr__(self) -> str:
        return f"<{counted(len(self.rows), 'weight')}, {self.bytes:,} bytes held, dense {self.dense_bytes:,}>"

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=_WIDTH).print(self)
        return text.getvalue()


@named_extra()
def explain(small: Module) -> Explanation:
    """Prints and returns every weight of two or more dimensions of a module that `run` returned, or that has parts from
    `run`.

    Each weight has one row, with all its names.
    """
    from deepcompression.nn.stand_in import StandIn
    from deepcompression.nn.what_pays import DENSE_REASONS, UNREAD
    from deepcompression.training.sharded import settle

    settle(small)
    small = unwrapped(small)
    found: dict[int, Kernel] = {}

    def add(key: int, path: str, local: str, kernel: Kernel) -> None:
        name = f"{path}.{local}" if path else local
        before = found.get(key, kernel)
        found[key] = before if name in before.names else replace(before, names=(*before.names, name))

    for path, module in small.named_modules(remove_duplicate=False):
        if isinstance(module, StandIn):
            continue
        for local, child in module.named_children():
            if isinstance(child, StandIn):
                add(id(child), path, local, _packed(_kind(module), child))
        reasons, unread = (module.__dict__.get(each, {}) for each in (DENSE_REASONS, UNREAD))
        # not by named_parameters, which reads what is unread
        for local, parameter in module.__dict__["_parameters"].items():
            if local in unread:
                size, shape = parameter.numel() * parameter.element_size(), tuple(parameter.shape)
                why = "it is read from the file when its layer is first used"
                kernel = Kernel((), _kind(module), shape, _UNREAD, "", "", why, 0, size, None, None)
                add(id(unread[local]), path, local, kernel)
            elif parameter is not None and (parameter.dim() >= 2 or local in reasons):
                verdict = reasons.get(local)
                reason = "it was not given to dc.run" if verdict is None else verdict.why
                expected = () if verdict is None else verdict.expected
                size = parameter.numel() * parameter.element_size()
                shape = tuple(parameter.shape)
                kernel = Kernel((), _kind(module), shape, _DENSE, "", "", reason, size, size, None, None, expected)
                add(id(parameter), path, local, kernel)
    explanation = Explanation(tuple(found.values()))
    show(str(explanation))
    return explanation


def _kind(module: Module) -> str:
    """The name of the class before packing."""
    return next(base.__name__ for base in type(module).__mro__ if not base.__module__.startswith("deepcompression."))


def _packed(module: str, stand_in: StandIn) -> Kernel:
    from deepcompression.nn.on_device import kernel, why_torch

    weights = stand_in.parts()
    first = weights[0]
    slow = why_torch(first.device)
    arithmetic = first.activations
    if first.header.grid_bits:
        arithmetic += f" on an int{first.header.grid_bits} grid"
    survivors = sum(part.header.survivors for part in weights)
    return Kernel(
        (),
        module,
        tuple(stand_in.shape),
        first.header.form,
        arithmetic,
        kernel(first.device),
        stand_in.why
        + _KEPT * any(part.kept is not None for part in weights)
        + (f"; without kernels, since {slow}" if slow else ""),
        sum(part.packed.numel() + (0 if part.kept is None else part.kept.nbytes) for part in weights),
        stand_in.numel() * stand_in.dtype.itemsize if stand_in.counts_dense else 0,
        survivors / stand_in.numel() if stand_in.numel() else 0.0,
        max(part.header.centroids for part in weights),
        stand_in.expected,
    )
