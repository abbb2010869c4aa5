"""The page of the boards: instructions, flash and memory of layers and networks."""

from __future__ import annotations

from benchmarks.device.published import CMSIS_NN, OTHERS, PUBLISHED
from benchmarks.tables import Result, table

# Of a price.
PARTS = ("text", "stack")


def device(result: Result) -> list[str]:
    return [
        "Instructions, not cycles, counted by a plugin of qemu between two marks. All code is built with -Os.",
        *_layer(result["layer"]),
        *_networks(result["networks"]),
        *("## Other runtimes", OTHERS, table(["published", "network", "memory", "time"], PUBLISHED, numbers=False)),
        *_prices(result["prices"], result["small"]),
    ]


def _layer(layer: Result) -> list[str]:
    boards, held = layer["instructions"], layer["bytes"]
    ways = list(next(iter(boards.values())))
    rows = [
        [board, *(f"{found[way]:,}" for way in ways), f"{CMSIS_NN[board]:,}" if board in CMSIS_NN else ""]
        for board, found in boards.items()
    ]
    text = (
        f"A linear layer, 64 x 256: {held['entries']:,} of {held['dense']:,} weights survive. Packed it takes "
        f"{held['packed']:,} bytes; a file with it in int8 and in float32 takes {held['file']:,}. `dense int8` is a "
        "plain loop. The last column is CMSIS-NN's arm_fully_connected_s8, measured once with the same counter."
    )
    return ["## One layer", text, table(["instructions", *ways, "CMSIS-NN, dense int8"], rows)]


def _networks(networks: Result) -> list[str]:
    text = (
        "Coded weights are decoded at each use, packed ones are walked as they are. LeNet-5 and LeNet-300-100 are "
        "those of `reproduce/results`; the others have random weights. Flash is code, weights and constants, without "
        "the board's start. Memory is the network's state and the stack, which painting it shows; input and output "
        "are the caller's. The difference is that of the outputs from Python's, relative to the largest. The last "
        "column counts inputs with the class that torch finds in float32. A board without floating point runs fewer "
        "inputs."
    )
    numbers = ("flash", "state", "stack", "ram", "input and output", "instructions")
    rows = [
        [
            f"{name}, {board}",
            *(f"{found[each]:,}" for each in numbers),
            f"{found['difference']:.1g}",
            f"{found['same class as torch']:,} of {found['inputs']:,}",
        ]
        for name, network in networks.items()
        for board, found in network["boards"].items()
    ]
    sizes = (f"{each}, B" for each in ("flash", "state", "stack", "memory", "input and output"))
    return ["## Networks", text, table(["", *sizes, "instructions", "difference", "class as torch"], rows)]


def _prices(prices: list[Result], small: Result) -> list[str]:
    boards = [key for key in prices[0] if key not in ("name", "added", "work")]
    rows = [
        [
            ("+ " if each["added"] else "") + each["name"],
            *(f"{each[board][part]:,}" for board in boards for part in PARTS),
            each["work"],
        ]
        for each in prices
    ]
    text = (
        "Bytes of code and constants, with what they use of the compiler's library, and of stack. Rows with a + "
        "come on top of the container. Layers share code, so several together take less than their sum. Container, "
        f"coder `device`, Linear and Conv take {small['int8']:,} bytes in int8 on M0+, and {small['float32']:,} in "
        "float32."
    )
    headings = ["", *(f"{board}, {part}" for board in boards for part in PARTS), "work buffer"]
    return ["## The price of each decoder and layer", text, table(headings, rows)]
