"""Ours beside others on ARM and held to one instruction set: what is compared, left out and joined."""

import pytest

from benchmarks.layers import instruction_sets, join, neon_instructions, neon_peers


def test_instructions_are_compared_among_the_kernels_that_a_cpu_would_use():
    counts = {"window, neon": 3.0, "window, neon with sdot": 1.0, "panel, neon": 2.0}
    floats = {"window, neon": 3.0, "panel, neon": 4.0}
    batches = [str(batch) for batch in neon_instructions.BATCHES]
    layer = {kind: dict.fromkeys(batches, counts) for kind in neon_instructions.KINDS}
    layer["float32"] = dict.fromkeys(batches, floats)
    found = neon_instructions.fewest({"one": layer, "two": layer})
    assert found[neon_instructions.SDOT]["int8"]["8"] == {"window, neon with sdot": 2}
    assert found[neon_instructions.NO_SDOT]["int8"]["8"] == {"panel, neon": 2}
    assert found[neon_instructions.NO_SDOT]["float32"]["1"] == {"window, neon": 2}
    double = {
        kind: {batch: {n: 4 * c for n, c in of.items()} for batch, of in each.items()} for kind, each in layer.items()
    }
    assert neon_instructions.means({"one": layer, "two": double})["int8"]["8"]["panel, neon"] == 4.0


def test_instructions_of_others_are_ratios_to_ours():
    ours = {name: 100 * 2**i for i, name in enumerate(neon_peers.OURS)}
    one = {cpu: {**ours, "a": 200, "b": 800, "c": 400} for cpu in neon_peers.CPUS}
    two = {cpu: {**ours, "a": 800, "b": 200} for cpu in neon_peers.CPUS}
    found = neon_peers.means({"one": one, "two": two}, {"a": "dense int8", "b": "dense int4", "c": "sparse"})
    first, second = list(found["with sdot"].values())[:2]
    assert first == {"best int8": 4, "best int4": 4, "best int8 / int4": 2, "a": 4, "b": 4}
    assert second["best int8 / int4"] == 1


def test_peers_without_a_switch_are_left_out_of_a_narrower_instruction_set():
    assert instruction_sets.reason("ONNX Runtime int8, dynamic", "avx2")
    assert instruction_sets.reason("ONNX Runtime int8, dynamic", "") is None
    assert instruction_sets.reason("torch fp32", "avx2") is None
    assert instruction_sets.switches("") == {}
    assert instruction_sets.switches("avx2")["MKL_ENABLE_INSTRUCTIONS"] == "AVX2"


def test_parts_of_one_commit_are_joined():
    layer = {"ms": {"batch 1, 1 thread, hot caches": {"ours int8, avx2": 1.0, "torch fp32": 3.0}}, "errors": {}}
    common = {"commit": "a", "command": "x", "batch": [1], "kinds": {"torch fp32": "dense fp32"}}
    parts = [
        {**common, "layers": {"VGG-16 fc6": layer}, "missing": {"b": "why"}},
        {**common, "layers": {"AlexNet fc6": layer}, "missing": {}},
    ]
    joined = join.join(parts)
    assert list(joined["layers"]) == ["AlexNet fc6", "VGG-16 fc6"]
    assert joined["missing"] == {"b": "why"}
    assert joined["times"]["batch 1, 1 thread, hot caches"]["ours int8, avx2"]["torch fp32"] == 3
    many = {"ms": {"batch 8": {}}, "errors": {"a": 2}, "rounds": {"batch 8": 3}, "bytes": {}}
    first = {"ms": {"batch 1": {}}, "errors": {"a": 1}, "rounds": {"batch 1": 4}, "bytes": {"a": 5}}
    found = join.joined(first, many)
    assert found["rounds"] == {"batch 1": 4, "batch 8": 3}
    assert (found["errors"], found["bytes"]) == ({"a": 2}, {"a": 5})
    with pytest.raises(ValueError, match="parts differ in commit: 'a' and 'b'"):
        join.join([parts[0], parts[1] | {"commit": "b"}])
