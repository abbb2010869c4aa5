"""The C files of a network: header, graph, weights, and a test with vectors. The same network gives the same bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.embedded.c_calls import Calls
from deepcompression.embedded.c_text import array, c_type, comment, lines, number
from deepcompression.embedded.graph import Shape
from deepcompression.embedded.network import Network, shown

# of the largest output: sums run in another order than NumPy's
TOLERANCE = 1e-5

# the arena as activations
_ARENA = re.compile(r"(?<!->)\barena\b")

METADATA = "deepcompression.network"

# in the first comment of each file: an export may be replaced by a later one
WRITTEN = "Written by dcz export; do not edit."


class Vectors(NamedTuple):
    """Inputs and outputs (count, elements) of a network, in its element type."""

    inputs: NDArray[Any]
    outputs: NDArray[Any]


class Written(NamedTuple):
    """The C files by name, and the bytes of constants beside the weights in the `.dcz` file."""

    files: dict[str, str]
    constant_bytes: int


def identity_of(calls: Calls) -> str:
    """The identity of a network before its weights are coded: its `.dcz` file has it in the metadata, the C files
    expect it.
    """
    # names of layers are comments alone
    text = re.sub(r"/\*.*?\*/", "", "\n".join([*calls.definitions, *calls.body]), flags=re.DOTALL)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def c_files(
    network: Network, calls: Calls, identity: str, weights: bytes, vectors: Vectors, notes: Iterable[str]
) -> Written:
    """All files of a network but the library's own.

    weights  the `.dcz` file of the coded weights; no bytes without any
    """
    name = network.name
    packed = _packed(network)
    packed_bytes = sum(values.nbytes for _, values in packed)
    constant_bytes = calls.table_bytes + packed_bytes
    files = {
        f"{name}.h": _header(network, len(weights), constant_bytes, notes),
        f"{name}.c": _source(network, calls, identity),
        f"{name}_weights.h": _weights_header(network, len(weights), packed),
        f"{name}_weights.c": _weights(network, weights, packed),
        f"{name}_test.c": _test(network, vectors),
    }
    return Written(files, constant_bytes)


def _packed(network: Network) -> list[tuple[str, NDArray[Any]]]:
    """The arrays of packed weights by their names in C."""
    found = []
    for at, each in enumerate(network.graph.calls):
        for part, held in enumerate(network.held.get(each.output, ())):
            if held.packed is not None:
                for word, values in held.packed._asdict().items():
                    if values is not None:
                        found.append((f"{network.name}_{word}_{at}_{part}", values))
    return found


def _header(network: Network, weight_bytes: int, constant_bytes: int, notes: Iterable[str]) -> str:
    name, graph, upper = network.name, network.graph, network.name.upper()
    sizes = [("INPUT", graph.input), ("OUTPUT", graph.output)]
    shapes = " -> ".join(shown(_of_one(graph.shapes[value])) for _, value in sizes)
    constants = [f"#define {upper}_{word}_SIZE {graph.size(value)}" for word, value in sizes]
    if network.integers is not None:
        scales = network.integers.scales
        constants += [
            "",
            comment("real = scale * q. An input is q = round(real / scale), limited to -127 to 127."),
            *(f"#define {upper}_{word}_SCALE {number(np.float32(scales[value]))}" for word, value in sizes),
        ]
    file = ["  dcz_file file;"] if network.coded else []
    opens = [
        comment("Checks the weights and all checksums, once. `state` must last, and may lie anywhere."),
        f"dcz_error {name}_open({name}_state *state);",
    ]
    if network.coded:
        opens += [
            "",
            comment(
                f"The same with weights from elsewhere in memory, such as an update of {name}_weights.dcz for this "
                "very network: the same graph, biases and scales. DCZ_ERROR_NOT_FOUND: a file for another network."
            ),
            f"dcz_error {name}_open_from({name}_state *state, const dcz_source *source);",
        ]
    made = "int8" if network.integers is not None else "float32"
    return _text(
        comment(f"{name}: a network in {made}, {shapes}. {WRITTEN}"),
        *(comment(note) for note in notes),
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        '#include "dcz.h"',
        "",
        *constants,
        "",
        comment(
            "Bytes of flash: coded weights; packed weights and constants. Code and the structures of its calls come on "
            "top."
        ),
        f"#define {upper}_WEIGHTS_BYTES {weight_bytes}",
        f"#define {upper}_FLASH_BYTES {weight_bytes + constant_bytes}",
        "",
        comment(
            "Bytes of memory: activations, and one layer at work, which takes what they leave free; the whole. The "
            "stack comes on top."
        ),
        f"#define {upper}_ARENA_BYTES {network.arena.size}",
        f"#define {upper}_WORK_BYTES {network.work}",
        f"#define {upper}_RAM_BYTES sizeof({name}_state)",
        "",
        "typedef struct {",
        *file,
        f"  {'uint32_t' if network.integers is not None else 'float'} arena[{network.memory // 4}];",
        f"}} {name}_state;",
        "",
        *opens,
        "",
        comment("Runs one input, which stays as it is."),
        f"dcz_error {name}_run({name}_state *state, const {network.element} *input, {network.element} *output);",
        "",
        "#endif",
    )


def _of_one(shape: Shape) -> Shape:
    """Without the batch."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def _source(network: Network, calls: Calls, identity: str) -> str:
    name = network.name
    body = "\n".join(calls.body)
    error = ["  dcz_error error;"] if "error = " in body else []
    coded = [
        f"  dcz_weights coded_{at} = {{NULL, NULL, NULL, &state->file, 0}};" for at in (0, 1) if f"&coded_{at}" in body
    ]
    arena = [f"  {network.element} *const arena = ({network.element} *)state->arena;"] if _ARENA.search(body) else []
    unused = [] if arena or "state->" in body or "&state" in body or coded else ["  (void)state;"]
    return _text(
        comment(f"The network {name}: one call for each operator. {WRITTEN}"),
        f'#include "{name}.h"',
        "",
        "#include <string.h>",
        "",
        f'#include "{name}_weights.h"',
        '#include "nn.h"',
        "",
        *calls.definitions,
        "",
        *_opens(network, identity),
        f"dcz_error {name}_run({name}_state *state, const {network.element} *input, {network.element} *output) {{",
        *error,
        *arena,
        *coded,
        *unused,
        body,
        "  return DCZ_OK;",
        "}",
    )


def _opens(network: Network, identity: str) -> list[str]:
    name = network.name
    if not network.coded:
        return [f"dcz_error {name}_open({name}_state *state) {{", "  (void)state;", "  return DCZ_OK;", "}", ""]
    return [
        f"dcz_error {name}_open_from({name}_state *state, const dcz_source *source) {{",
        f'  static const char expected[] = "{identity}";',
        "  char found[sizeof expected];",
        "  dcz_error error = dcz_open(&state->file, source);",
        f'  if (error == DCZ_OK) error = dcz_metadata(&state->file, "{METADATA}", found, sizeof found);',
        "  if (error != DCZ_OK) return error;",
        "  for (uint32_t i = 0; i < sizeof expected; ++i)",
        "    if (found[i] != expected[i]) return DCZ_ERROR_NOT_FOUND;",
        "  for (uint32_t i = 0; i < state->file.tensors; ++i) {",
        "    dcz_tensor tensor;",
        "    error = dcz_at(&state->file, i, &tensor);",
        "    if (error == DCZ_OK) error = dcz_check(&state->file, &tensor);",
        "    if (error != DCZ_OK) return error;",
        "  }",
        "  return DCZ_OK;",
        "}",
        "",
        f"dcz_error {name}_open({name}_state *state) {{",
        f"  const dcz_source source = {{{name}_weights, NULL, NULL, {name.upper()}_WEIGHTS_BYTES}};",
        f"  return {name}_open_from(state, &source);",
        "}",
        "",
    ]


def _weights_header(network: Network, weight_bytes: int, packed: list[tuple[str, NDArray[Any]]]) -> str:
    upper = f"{network.name}_weights_h".upper()
    coded = [f"extern const uint8_t {network.name}_weights[{weight_bytes}];"] if network.coded else []
    return _text(
        comment(f"The weights of {network.name}. {WRITTEN}"),
        f"#ifndef {upper}",
        f"#define {upper}",
        "",
        "#include <stdint.h>",
        "",
        *coded,
        *(f"extern const {c_type(values)} {name}[{max(1, values.size)}];" for name, values in packed),
        "",
        "#endif",
    )


def _weights(network: Network, weights: bytes, packed: list[tuple[str, NDArray[Any]]]) -> str:
    name = network.name
    coded = []
    if network.coded:
        coded = [
            "",
            comment(
                f"The file {name}_weights.dcz. DCZ_WEIGHTS, if defined, comes before the array: a section of its own "
                "for updates."
            ),
            "#ifndef DCZ_WEIGHTS",
            "#define DCZ_WEIGHTS",
            "#endif",
            f"DCZ_WEIGHTS {array(f'{name}_weights', np.frombuffer(weights, np.uint8), static=False)}",
        ]
    return _text(
        comment(f"The weights of {name}. {WRITTEN}"),
        f'#include "{name}_weights.h"',
        *coded,
        *(f"\n{array(each, values, static=False)}" for each, values in packed),
    )


def _test(network: Network, vectors: Vectors) -> str:
    name, upper, element = network.name, network.name.upper(), network.element
    count = len(vectors.inputs)
    if network.integers is None:
        near = number(np.float32(TOLERANCE * max(1.0, float(np.abs(vectors.outputs).max(initial=0)))))
        differs = [
            "      const float difference = output[i] - outputs[v][i];",
            # false for a difference that is not a number
            f"      if (!(difference <= {near} && difference >= -{near})) return 1;",
        ]
    else:
        differs = ["      if (output[i] != outputs[v][i]) return 1;"]
    exact = "bit for bit" if network.integers is not None else f"to {TOLERANCE:g}"
    return _text(
        comment(
            f"Runs {name} on {count} inputs and compares its outputs, {exact}, with those that Python computed. Ends "
            "with 0 if all are the same, 1 if not, 2 for an error. To build and run it here: "
            f"cc -std=c99 -O2 *.c && ./a.out {WRITTEN}"
        ),
        f'#include "{name}.h"',
        "",
        _vectors("inputs", f"{upper}_INPUT_SIZE", vectors.inputs),
        _vectors("outputs", f"{upper}_OUTPUT_SIZE", vectors.outputs),
        "",
        f"static {name}_state state;",
        f"static {element} output[{upper}_OUTPUT_SIZE];",
        "",
        "int main(void) {",
        f"  if ({name}_open(&state) != DCZ_OK) return 2;",
        f"  for (uint32_t v = 0; v < {count}; ++v) {{",
        f"    if ({name}_run(&state, inputs[v], output) != DCZ_OK) return 2;",
        f"    for (uint32_t i = 0; i < {upper}_OUTPUT_SIZE; ++i) {{",
        *differs,
        "    }",
        "  }",
        "  return 0;",
        "}",
    )


def _vectors(name: str, size: str, values: NDArray[Any]) -> str:
    rows = [f"    {{\n{lines([number(each) for each in row], '        ')}\n    }}," for row in values]
    return f"static const {c_type(values)} {name}[{len(values)}][{size}] = {{\n" + "\n".join(rows) + "\n};"


def _text(*parts: str) -> str:
    return "\n".join(parts) + "\n"
