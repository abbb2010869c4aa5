"""Triton's kernels, compiled without a GPU: registers, spills and the instructions of their loops."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from deepcompression.gpu.launch import COMPILED

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)([^;]*);")
_LABEL = re.compile(r"(\.L_\w+):")


class Compiled(NamedTuple):
    """What a kernel takes of a GPU. `loops` has the instructions of each innermost loop, by their names."""

    registers: int
    spilled_bytes: int
    shared_bytes: int
    loops: list[Counter[str]]


def compile_kernel(kernel: Any, types: dict[str, str], constants: dict[str, Any], arch: int, warps: int) -> Compiled:
    """For an NVIDIA GPU of this compute capability, such as 90. `types` has Triton's names of the arguments' types."""
    binary = _compile(kernel, types, constants, GPUTarget("cuda", arch, 32), warps).asm["cubin"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        usage = _run("cuobjdump", "-res-usage", file.name)
        text = _run("nvdisasm", "-c", file.name)
    found = dict(re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", usage))
    spilled = int(found["STACK"]) + int(found["LOCAL"])
    return Compiled(int(found["REG"]), spilled, int(found["SHARED"]), _loops(text))


def compile_for_amd(kernel: Any, types: dict[str, str], constants: dict[str, Any], warps: int) -> str:
    """The assembly for a GPU of AMD, of the architecture gfx942."""
    return str(_compile(kernel, types, constants, GPUTarget("hip", "gfx942", 64), warps).asm["amdgcn"])


def _compile(kernel: Any, types: dict[str, str], constants: dict[str, Any], target: GPUTarget, warps: int) -> Any:
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    assert all(name in constants for name, type_ in signature.items() if type_ == "constexpr")
    # as at run time, where torch aligns its tensors
    aligned = {(i,): [["tt.divisibility", 16]] for i, type_ in enumerate(signature.values()) if type_[0] == "*"}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=target, options={"num_warps": warps, **COMPILED})


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def _loops(sass: str) -> list[Counter[str]]:
    """Each run of instructions from a label to a jump back to it that holds no other such run."""
    names: list[str] = []
    labels, found = {}, []
    for line in sass.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(names)
        elif instruction := _INSTRUCTION.match(line):
            names.append(instruction[1])
            to = re.search(r"\.L_\w+", instruction[2])
            if instruction[1] == "BRA" and to is not None and to[0] in labels:
                found.append((labels[to[0]], len(names)))
    inner = [(a, b) for a, b in found if not any((c, d) != (a, b) and a <= c and d <= b for c, d in found)]
    return [Counter(names[a:b]) for a, b in inner]
