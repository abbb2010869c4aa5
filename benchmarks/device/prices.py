"""The price of each decoder and layer: bytes of code, of stack, and of the work buffer, by board."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.device.boards import BOARDS_OF, BUILT, DEVICE, Board, compiled, link_size

CONTAINER = ("dcz_open", "dcz_find", "dcz_check", "dcz_rows_open", "dcz_rows_next")
INDIRECT = "__indirect_call"


@dataclass(frozen=True)
class Price:
    """Something that a program may use: functions that it calls, and switches of the build.

    `beside` are functions that are there without it: their code does not count. `called` are functions that it calls
    through pointers. `folders` of device/ have sources beside its own.
    """

    name: str
    uses: tuple[str, ...]
    beside: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    work: str = ""


def _unary(kind: str, *names: str) -> Iterator[Price]:
    for name in names:
        yield Price(f"{name.replace('_', ' ')}, {kind}", (f"dcz_{name}_{'i8' if kind == 'int8' else 'f32'}",))


def _products(kind: str, short: str) -> Iterator[Price]:
    per_row = "8 B a survivor of a row"
    yield Price(f"Linear, packed, {kind}", (f"dcz_linear_{short}_packed",))
    yield Price(f"Linear, coded, {kind}", (f"dcz_linear_{short}_coded",), CONTAINER, work="the decoder's")
    for way, work in (("packed", per_row), ("coded", f"the decoder's, {per_row}")):
        called = (f"dcz_unpack_{way}", f"dcz_compute_{short}")
        yield Price(
            f"Conv, {way}, {kind}",
            (f"dcz_conv_{short}", called[0]),
            () if way == "packed" else CONTAINER,
            called=called,
            work=work,
        )
    wide = "i16" if short == "i8" else "f32"
    gates = {"gru": "14 B", "lstm": "18 B"} if short == "i8" else {"gru": "24 B", "lstm": "36 B"}
    for layer, size in gates.items():
        called = (f"dcz_linear_{wide}_packed", f"dcz_{layer}_step_{short}")
        yield Price(
            f"{layer.upper()}, packed, {kind}",
            (f"dcz_{layer}_{short}", called[0]),
            called=called,
            work=f"{size} a unit",
        )


# What the other coders take of the work buffer, for n elements of b bytes: more exactly in docs/format.md, "All coders
# on a device". A block is 3.4 KB, an inflater 3.2 KB.
FULL = {
    "sparse": "1.8 KB, 2 B a gap that occurs",
    "huffman": "3.4 KB, 2 B a gap that occurs, a codebook",
    "fast": "n / 8 B; a block and a codebook, or b blocks; classes 12 KB, wide patterns 8 KB",
    "small": "26 KB, 16 B a column; for codes 19 KB, for values b blocks; for kernels up to 45 KB",
    "deflate": "b inflaters, each with a window of the tensor's bytes, at most 32 KB",
}


def _full(name: str, coders: Sequence[str], work: str = "") -> Price:
    switches = tuple(f"-DDCZ_WITH_{coder.upper()}" for coder in coders)
    return Price(name, CONTAINER, CONTAINER, switches=switches, folders=("full",), work=work)


DECODERS = (
    Price("the container, coders `raw` and `device`", CONTAINER, work="see below"),
    *(_full(f"coder `{coder}`", (coder,), work) for coder, work in FULL.items()),
    _full("all coders", ("all",)),
)

LAYERS = (
    *_products("int8", "i8"),
    *_unary("int8", "max_pool", "average_pool", "add", "multiply", "scale", "rescale", "table", "softmax"),
    *_products("float32", "f32"),
    *_unary("float32", "max_pool", "average_pool", "add", "multiply", "scale", "clip", "softmax"),
    *_unary("float32", "leaky", "sigmoid", "tanh", "hard_sigmoid", "hard_swish", "elu", "gelu", "gelu_tanh", "silu"),
)

# What must take less than 8 KB on the smallest board; and the same in float32.
SMALL = {
    "int8": Price("", ("dcz_open", "dcz_at", "dcz_linear_i8_coded", "dcz_conv_i8", "dcz_unpack_coded")),
    "float32": Price("", ("dcz_open", "dcz_at", "dcz_linear_f32_coded", "dcz_conv_f32", "dcz_unpack_coded")),
}


class CallGraph(NamedTuple):
    """Bytes of stack of each function, and what it calls, by the compiler's titles; titles by plain names."""

    sizes: dict[str, int]
    calls: dict[str, set[str]]
    titles: dict[str, str]


@cache
def _call_graph(board: Board, sources: tuple[Path, ...], switches: tuple[str, ...]) -> CallGraph:
    sizes: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for made in compiled(board, sources, switches, BUILT / "objects", ("-fcallgraph-info=su",)):
        text = made.with_suffix(".ci").read_text()
        for title, label in re.findall(r'node: \{ title: "([^"]+)" label: "([^"]*)"', text):
            if found := re.search(r"(\d+) bytes", label):
                sizes[title] = int(found[1])
        for source, target in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text):
            calls.setdefault(source, set()).add(target)
    return CallGraph(sizes, calls, {title.rsplit(":", 1)[-1]: title for title in sizes})


def stack_of(board: Board, price: Price) -> int:
    """The most stack that a call of one of the used functions takes, by the compiler's graph of calls; without
    functions of its library.
    """
    graph = _call_graph(board, sources_of(price), price.switches)

    def deepest(title: str, above: tuple[str, ...] = ()) -> int:
        if title in above:
            raise ValueError(f"{title} calls itself")
        if title == INDIRECT:
            titles = (graph.titles[name] for name in price.called)
            return max((deepest(each, above) for each in titles if each not in above), default=0)
        below = (deepest(called, (*above, title)) for called in graph.calls.get(title, ()))
        return graph.sizes.get(title, 0) + max(below, default=0)

    return max(deepest(graph.titles[name]) for name in price.uses)


def sources_of(price: Price) -> tuple[Path, ...]:
    folders = (DEVICE, *(DEVICE / folder for folder in price.folders))
    return tuple(sorted(source for folder in folders for source in folder.glob("*.c")))


def text_of(board: Board, price: Price) -> int:
    """Bytes of code and constants, with what they use of the compiler's library, beside those that are there anyway."""
    whole = link_size(board, sources_of(price), (*price.beside, *price.uses), price.switches)
    return whole - (link_size(board, tuple(sorted(DEVICE.glob("*.c"))), price.beside) if price.beside else 0)


def measure_prices(boards: Sequence[str] = ("M0+", "RV32IMC")) -> dict[str, object]:
    """Bytes of code and stack of each decoder and layer by board, and of what must be small."""
    rows = [
        {
            "name": price.name,
            "added": bool(price.beside),
            "work": price.work,
            **{
                name: {"text": text_of(board, price), "stack": stack_of(board, price)} for name, board in chosen.items()
            },
        }
        for chosen in ({name: BOARDS_OF[name] for name in boards},)
        for price in (*DECODERS, *LAYERS)
    ]
    small = {kind: text_of(BOARDS_OF["M0+"], price) for kind, price in SMALL.items()}
    return {"prices": rows, "small": small}
