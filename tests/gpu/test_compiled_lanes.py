"""The kernel of lanes compiled for GPUs, without one: what it takes is bounded."""

import pytest

from benchmarks.gpu.compiled import compile_kernel
from deepcompression.gpu.lane_kernels import decode_segments

TYPES = {"words": "*i64", "last_word": "i32", "begins": "*i64", "firsts": "*i64", "table": "*i32", "exact": "*i32"}


@pytest.mark.parametrize(
    "arch", [90, pytest.param(80, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.long)]
)
@pytest.mark.parametrize(("turn", "longest", "symbols"), [(8, 7, "*i64"), (4, 14, "*i32")])
def test_a_segment_spills_nothing_and_a_lane_takes_few_registers(turn, longest, symbols, arch):
    constants = {"turn": turn, "longest": longest}
    found = compile_kernel(decode_segments, TYPES | {"symbols": symbols}, constants, arch, 1)
    assert found.spilled_bytes == 0
    assert found.registers <= 72
