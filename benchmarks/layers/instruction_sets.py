"""Peers held to a narrower instruction set than the CPU has, so that a forced set of ours is compared with its like."""

from __future__ import annotations

import argparse

# What libraries read when they start: MKL, oneDNN, ATen, OpenBLAS, FBGEMM, DeepSparse.
SWITCHES = {
    "avx2": {
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "OPENBLAS_CORETYPE": "Haswell",
        "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
        "NM_ARCH": "avx2",
    }
}
NO_SWITCH = {"ONNX Runtime": "it has no switch for its instruction set; the page of layers has it with the widest"}


def switches(instruction_set: str) -> dict[str, str]:
    """Variables of the environment; none for the CPU's own set."""
    return SWITCHES[instruction_set] if instruction_set else {}


def reason(peer: str, instruction_set: str) -> str | None:
    """Why a peer cannot be held to an instruction set."""
    reasons = (text for library, text in NO_SWITCH.items() if peer.startswith(library))
    return next(reasons, None) if instruction_set else None


def result_name(arguments: argparse.Namespace) -> str:
    """The result of a run."""
    return f"layers_{arguments.instruction_set}" if arguments.instruction_set else "layers"
