"""Kernels compiled for GPUs, without one: what they take is bounded, so that a change that slows them down is seen."""

import pytest
import torch

from benchmarks.gpu.compiled import compile_for_amd, compile_kernel
from benchmarks.gpu.instructions import Product, arguments, compiled
from deepcompression.gpu import product_kernels, products, row_kernels

ARCHITECTURES = [90, pytest.param(80, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.long)]


# Of each pair for all vectors of a bundle: word and column, codebook, and for each vector its sum.
BOUNDS = [
    (1, 4, torch.float32, 15),
    (16, 4, torch.float32, 36),
    (1, 8, torch.float32, 18),
    pytest.param(1, 5, torch.bfloat16, 16, marks=pytest.mark.long),
    pytest.param(1, 4, torch.float16, 16, marks=pytest.mark.long),
    pytest.param(2, 4, torch.float32, 18, marks=pytest.mark.long),
    pytest.param(4, 4, torch.float32, 20, marks=pytest.mark.long),
    pytest.param(8, 4, torch.float32, 26, marks=pytest.mark.long),
    pytest.param(16, 8, torch.float16, 40, marks=pytest.mark.long),
]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("bundle", "code_bits", "dtype", "most"), BOUNDS)
def test_a_survivor_takes_few_instructions_and_a_thread_few_registers(bundle, code_bits, dtype, most, arch):
    found, loop, pairs = compiled(Product(bundle, code_bits, dtype), arch)
    # two products at once cannot be skipped for fillers: a selection for each vector follows them
    assert loop.total() <= (most + (bundle if loop["FFMA2"] else 0)) * pairs
    # one load of each vector's numbers, at most four at once; words and centroids: at most one each
    per_pair = max(1, bundle // 4) + (code_bits == 8)
    assert loop["LDG"] == pairs * per_pair + products.UNROLLED
    assert loop["STS"] == loop["LDS"] == loop["BAR"] == 0
    assert found.spilled_bytes == 0
    assert found.registers <= (40 if bundle <= 4 else 80)
    assert found.shared_bytes <= 2048 + 1024 * (arch >= 90)


OTHERS = {
    "turn": (
        product_kernels.turn,
        {"x": "*fp16", "turned": "*fp32", "spoilt": "*fp32", "columns": "i32", "vectors": "i32"},
        {"bundle": 16, "tile": products._TURN_COLUMNS},
    ),
    "word rows": (
        row_kernels.word_rows,
        {
            "packed": "*u8",
            "out": "*fp16",
            **dict.fromkeys(["rows", "columns", "units", "length", "first", "count"], "i32"),
        },
        {"numbers": None, "code_bits": 4, "skip_bits": 4, "part_bits": 3, "many": False, "wide": False, "warps": 4},
    ),
    "tile rows": (
        row_kernels.tile_rows,
        {"numbers": "*i64", "packed": "*u8", "out": "*fp16", **dict.fromkeys(["rows", "columns", "survivors"], "i32")},
        {"code_bits": 4, "width": 1024},
    ),
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_kernels_spill_nothing(name, arch):
    found = compile_kernel(*OTHERS[name], arch, 4)
    assert found.spilled_bytes == 0
    assert found.registers <= 80


@pytest.mark.long
def test_products_compile_for_a_gpu_of_amd():
    for bundle in (1, 16):
        text = compile_for_amd(product_kernels.product, *arguments(Product(bundle, 4)), products.WARPS)
        assert ".vgpr_spill_count: 0" in text
