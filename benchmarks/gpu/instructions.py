"""Counts the instructions and registers of the products on NVIDIA's GPUs, as Triton compiles them. No GPU is needed."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any, NamedTuple

import torch

from benchmarks.environment import demand, main
from benchmarks.gpu.compiled import Compiled, compile_kernel
from deepcompression.gpu import product_kernels, products

# Compute capabilities.
ARCHITECTURES = (80, 90, 100)
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
# code_bits -> skip_bits, pairs of a word
PAIRS = {4: (4, 4), 5: (3, 4), 8: (8, 2)}


class Product(NamedTuple):
    """A bundle of vectors, times weights of 2^code_bits centroids."""

    bundle: int
    code_bits: int
    dtype: torch.dtype = torch.float32


PRODUCTS = (
    Product(1, 4),
    Product(1, 5, torch.bfloat16),
    Product(1, 4, torch.float16),
    Product(1, 8),
    *(Product(bundle, 4) for bundle in (2, 4, 8, 16)),
)


def arguments(product: Product) -> tuple[dict[str, str], dict[str, Any]]:
    """Types and constants, as `products.linear` passes them."""
    bundle, code_bits, dtype = product
    x = "*fp32" if bundle > 1 else TYPES[dtype]
    types = {"x": x, "packed": "*u8", "bias": TYPES[dtype], "y": TYPES[dtype]}
    types |= {"spoilt": "*fp32"} if bundle > 1 else {}
    types |= dict.fromkeys(["rows", "columns", "units", "length", "vectors"], "i32")
    sizes = {
        "skip_bits": PAIRS[code_bits][0],
        "part_bits": 3,
        "many": False,
        "wide": False,
        "bundle": bundle,
        "programs": 64,
    }
    constants = {"code_bits": code_bits, **sizes, "warps": products.WARPS, "unrolled": products.UNROLLED}
    return types, constants | ({"spoilt": None} if bundle == 1 else {})


def compiled(product: Product, arch: int) -> tuple[Compiled, Counter[str], int]:
    """The kernel, the instructions of its loop over turns, and the pairs of a turn."""
    found = compile_kernel(product_kernels.product, *arguments(product), arch, products.WARPS)
    pairs = PAIRS[product.code_bits][1] * products.UNROLLED
    # that loop multiplies each pair by each vector; newer GPUs do two products at once
    [loop] = [each for each in found.loops if each["FFMA"] + 2 * each["FFMA2"] == pairs * product.bundle]
    return found, loop, pairs


def measure(_: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for product in PRODUCTS:
        row: dict[str, Any] = {
            "vectors": product.bundle,
            "centroids": 1 << product.code_bits,
            "dtype": str(product.dtype).removeprefix("torch."),
        }
        for arch in ARCHITECTURES:
            found, loop, pairs = compiled(product, arch)
            row[f"sm_{arch}"] = {
                "instructions": loop.total() / pairs,
                "registers": found.registers,
                "spilled_bytes": found.spilled_bytes,
            }
        rows.append(row)
    spilled = max(row[f"sm_{arch}"]["spilled_bytes"] for row in rows for arch in ARCHITECTURES)
    return {
        "architectures": [f"sm_{arch}" for arch in ARCHITECTURES],
        "products": rows,
        "demands": [demand("no kernel spills registers: bytes of a thread", spilled, spilled == 0)],
    }


if __name__ == "__main__":
    raise SystemExit(main("gpu_instructions", measure, {}, packages=("torch", "triton")))
