"""Tensors that other tools pruned or quantized: recognised by names and dtypes, applied or kept bit for bit."""

import json

import numpy as np
import pytest
from cases import content, dense

from deepcompression.checkpoint import open_checkpoint, recognise, write_tensors
from deepcompression.checkpoint.other_tools import UNKNOWN
from deepcompression.tensors.tensor import DenseTensor

HALF, FLOAT = "F16", "F32"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def recognised(path, tensors, metadata=None):
    """(kind -> tensors, exact) of a checkpoint with these tensors, all of which it still has, bit for bit."""
    write_tensors(path, tensors, metadata or {})
    with recognise(open_checkpoint(path)) as source:
        assert {name: content(source.read(name)) for name in source.entries} == {
            name: content(tensor) for name, tensor in tensors.items()
        }
        assert source.notes == tuple(found.what for found in source.recognised)
        assert all(found.what.endswith("kept bit for bit.") for found in source.recognised)
        return {found.kind: set(found.tensors) for found in source.recognised}, source.exact


def layer(name, **parts):
    return {f"{name}.{local}": dense(dtype, shape) for local, (dtype, shape) in parts.items()}


PLAIN = layer("head", weight=(FLOAT, (8, 8)), bias=(FLOAT, (8,))) | layer("norm", num_batches_tracked=("I64", ()))
PACKED = {"weight_packed": ("I32", (8, 8)), "weight_scale": ("BF16", (8, 2)), "weight_shape": ("I64", (2,))}


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("compressed-tensors", PACKED),
        ("compressed-tensors", PACKED | {"weight_zero_point": ("I32", (1, 2)), "weight_g_idx": ("I32", (64,))}),
        ("compressed-tensors", {"weight_packed": ("U8", (8, 8)), "weight_scale": ("F8_E4M3", (8, 1))}),
        ("compressed-tensors", {"weight": ("I8", (8, 8)), "weight_scale": (FLOAT, (8, 1))}),
        (
            "compressed-tensors",
            {"weight": ("F8_E4M3", (8, 8)), "weight_scale": (FLOAT, ()), "input_scale": (FLOAT, ())},
        ),
        (
            "compressed-tensors",
            {
                "compressed": (HALF, (9,)),
                "bitmask": ("U8", (8, 1)),
                "shape": ("I64", (2,)),
                "row_offsets": ("I64", (8,)),
            },
        ),
        (
            "GPTQ",
            {
                "qweight": ("I32", (8, 16)),
                "qzeros": ("I32", (2, 2)),
                "scales": (HALF, (2, 16)),
                "g_idx": ("I32", (64,)),
            },
        ),
        ("GPTQ", {"qweight": ("I32", (6, 16)), "qzeros": ("I32", (2, 2)), "scales": (HALF, (2, 16))}),
        ("AWQ", {"qweight": ("I32", (64, 2)), "qzeros": ("I32", (2, 2)), "scales": (HALF, (2, 16))}),
        # as the tools themselves write them (compressed-tensors 0.20, AutoGPTQ 0.7.1, AutoAWQ 0.2.9) for 256 inputs
        ("compressed-tensors", {"weight_packed": ("U8", (64, 128)), "weight_scale": ("U8", (64, 8))}),
        ("compressed-tensors", {"weight": ("F8_E4M3", (64, 256)), "weight_scale": ("U8", (64, 8))}),
        (
            "compressed-tensors",
            {
                "weight_packed": ("U8", (64, 128)),
                "weight_scale": ("F8_E4M3", (64, 16)),
                "weight_global_scale": (FLOAT, (1,)),
                "input_global_scale": (FLOAT, (1,)),
            },
        ),
        (
            "GPTQ",
            {
                "qweight": ("I32", (24, 128)),
                "qzeros": ("I32", (1, 12)),
                "scales": (HALF, (1, 128)),
                "g_idx": ("I32", (256,)),
            },
        ),
        ("AWQ", {"qweight": ("I32", (256, 16)), "qzeros": ("I32", (4, 16)), "scales": (HALF, (4, 128))}),
        ("AWQ", {"qweight": ("I32", (128, 32)), "qzeros": ("I32", (128, 2)), "scales": (HALF, (128, 16))}),
        ("AWQ", {"qweight": ("I16", (32, 256)), "qzeros": (HALF, (16, 128)), "scales": (HALF, (16, 128))}),
        (UNKNOWN, {"qweight": ("I16", (32, 256)), "qzeros": (HALF, (16, 128)), "scales": (HALF, (16, 64))}),
        (UNKNOWN, {"qweight": ("I32", (128, 32)), "qzeros": ("I32", (128, 3)), "scales": (HALF, (128, 16))}),
        (UNKNOWN, {"qweight": ("I32", (64, 3)), "qzeros": ("I32", (2, 2)), "scales": (HALF, (2, 16))}),
        (UNKNOWN, {"weight": ("I8", (8, 8)), "SCB": (FLOAT, (8,)), "weight_format": ("U8", ())}),
        (UNKNOWN, {"weight": ("F8_E4M3", (8, 8)), "weight_scale_inv": (FLOAT, (1, 1))}),
        (UNKNOWN, {"weight_packed": ("I32", (8, 8)), "scale_packed": (HALF, (8, 8)), "meta": ("I16", (8, 8))}),
        (UNKNOWN, {"W_q": ("U8", (8, 8)), "scale": (HALF, (8, 1)), "zero": (HALF, (8, 1))}),
    ],
)
def test_quantized_layers_are_recognised_and_kept(path, kind, parts):
    tensors = PLAIN | layer("a.fc", **parts) | layer("b.fc", **parts) | layer("b.fc", bias=(FLOAT, (8,)))
    expected = {f"{name}.{local}" for name in ("a.fc", "b.fc") for local in parts}
    assert recognised(path, tensors) == ({kind: expected}, expected)


@pytest.mark.parametrize(
    ("parts", "free", "said"),
    [
        ({"f": PACKED}, {}, "packed already, by compressed-tensors, and are kept bit for bit"),
        ({"f": PACKED}, layer("norm", weight=(FLOAT, (8,))), "packed already, by compressed-tensors, and"),
        (
            {"f": PACKED, "g": {"weight": ("I8", (8, 8)), "SCB": (FLOAT, (8,))}},
            {},
            "by compressed-tensors and in a way that is not",
        ),
        ({"f": PACKED}, PLAIN, ""),
        ({}, layer("norm", weight=(FLOAT, (8,))), ""),
    ],
)
def test_that_all_weights_are_packed_is_said_with_the_tools(path, parts, free, said):
    tensors = free | {name: tensor for layer_, own in parts.items() for name, tensor in layer(layer_, **own).items()}
    write_tensors(path, tensors, {})
    with recognise(open_checkpoint(path)) as source:
        assert said in source.packed
        assert bool(said) == bool(source.packed)


def test_bitsandbytes_in_four_bits_is_said_as_not_recognised(path):
    parts = {
        "fc.weight.absmax": dense("U8", (8,)),
        "fc.weight.nested_absmax": dense(FLOAT, (1,)),
        "fc.weight.quant_map": dense(FLOAT, (16,)),
        "fc.weight.quant_state.bitsandbytes__nf4": dense("U8", (80,)),
    }
    # the storage of the codes can be chosen, so that they may look like floats
    for dtype in ("U8", "BF16"):
        codes = {"fc.weight": dense(dtype, (256, 1))}
        assert recognised(path, PLAIN | parts | codes) == ({UNKNOWN: {*parts, *codes}}, {*parts, *codes})


@pytest.mark.parametrize("name", ["fc.weight:{}", "fc._weight_{}"])
def test_flattened_tensors_of_torchao_are_recognised(path, name):
    told = {"fc.weight": {"_type": "Int4Tensor", "_data": {}}, "head.weight": {"_type": "Tensor"}}
    metadata = {key: json.dumps(value) for key, value in told.items()} | {"tensor_names": json.dumps(list(told))}
    parts = {name.format("qdata"): dense("I8", (8, 8)), name.format("scale"): dense(FLOAT, (8, 1))}
    assert recognised(path, PLAIN | parts, metadata) == ({"torchao": set(parts)}, set(parts))


@pytest.mark.parametrize("text", ["", "{", "3", "{}", "[3]", '["head.weight", "no"]', "[" * 100_000])
def test_odd_metadata_are_no_torchao(path, text):
    assert recognised(path, PLAIN, {"tensor_names": text, "head.weight": text}) == ({}, set())


@pytest.mark.parametrize(
    "tensors",
    [
        # optimum-quanto 0.2
        {"fc.weight._data": ("I8", (64, 128)), "fc.weight._scale": (FLOAT, (64, 1))},
        {
            "fc.weight._data._data": ("U8", (32, 128)),
            "fc.weight._scale": (FLOAT, (64, 1)),
            "fc.weight._shift": (FLOAT, (64, 1)),
        },
        # MLX
        {"fc.weight": ("U32", (64, 16)), "fc.scales": (HALF, (64, 4)), "fc.biases": (HALF, (64, 4))},
        # TensorRT Model Optimizer, with quantizers below the layer
        {
            "fc.weight": ("F8_E4M3", (64, 64)),
            "fc.weight_scale": (FLOAT, (64, 4)),
            "fc.weight_quantizer._amax": (FLOAT, (64, 1)),
        },
        # NNCF
        {"fc.weight": ("U8", (64, 64)), "fc.pre_ops.0.op._scale": (HALF, (64, 1))},
        # AQLM: codebooks as large as the codes
        {"fc.codes": ("I16", (8, 8, 1)), "fc.codebooks": (HALF, (1, 256, 1, 8)), "fc.scales": (HALF, (8, 1, 1, 1))},
        # VPTQ: codebooks in modules of their own
        {
            "fc.indices": ("U16", (1, 64, 64)),
            "fc.centroids.weight": (HALF, (1, 2048)),
            "fc.res_centroids.weight": (HALF, (1, 4096)),
            "fc.weight_scale": (HALF, (64,)),
        },
        # SqueezeLLM
        {"fc.qweight": ("I32", (8, 64)), "fc.lookup_table": (HALF, (64, 16))},
        # GPT-OSS
        {
            "experts.up_blocks": ("U8", (2, 16, 4, 16)),
            "experts.up_scales": ("U8", (2, 16, 4)),
            "experts.up_bias": ("BF16", (2, 16)),
        },
        # codes under the name of the weight, scales beside it
        {"fc.weight.codes": ("I8", (64, 64)), "fc.weight_scale": (FLOAT, (64, 4))},
        # TensorRT-LLM
        {"fc.weight": ("I8", (64, 64)), "fc.per_channel_scale": (FLOAT, (64, 1))},
        # one layer alone
        {"weight": ("F8_E5M2", (64, 64)), "weight_scale_inv": (FLOAT, (2, 2))},
        {"qweight": ("U8", (64, 64)), "lut": (FLOAT, (16, 4))},
    ],
)
def test_floats_beside_packed_codes_are_kept_whatever_their_names(path, tensors):
    tensors = {name: dense(dtype, shape) for name, (dtype, shape) in tensors.items()}
    assert recognised(path, PLAIN | tensors)[1] == set(tensors)


def test_what_belongs_to_a_known_tool_leaves_other_floats_of_its_layer_exact(path):
    tensors = layer("fc", **PACKED, channel_gain=(FLOAT, (8, 4)))
    found, exact = recognised(path, PLAIN | tensors)
    assert found["compressed-tensors"] == {f"fc.{name}" for name in PACKED}
    assert found[UNKNOWN] == {"fc.channel_gain"}
    assert exact == set(tensors)


@pytest.mark.parametrize(
    "others",
    [
        # Swin: integers of 64 bits are indices
        {"attn.table": (FLOAT, (169, 12)), "attn.relative_position_index": ("I64", (49, 49))},
        {"bn.weight": (FLOAT, (8,)), "bn.num_batches_tracked": ("I32", ())},
        {"head.weight": (FLOAT, (64, 64)), "codes": ("U8", (32,))},
        {"head": (FLOAT, (64, 64)), "codes": ("U8", (32,))},
        {"net.fc.weight": (FLOAT, (64, 64)), "net.table": ("U8", (4, 64))},
        {"net.fc.weight": (FLOAT, (64, 64)), "table": ("I32", (64, 64))},
        {"net_b.weight": (FLOAT, (8, 8)), "net_c": (FLOAT, (64, 64)), "net.table": ("U8", (64, 64))},
        {"net.down.fc.weight": (FLOAT, (64, 64)), "net.table": ("I32", (64, 64))},
    ],
)
def test_other_integers_lock_no_weights(path, others):
    assert recognised(path, {name: dense(dtype, shape) for name, (dtype, shape) in others.items()}) == ({}, set())


@pytest.mark.parametrize("dtype", ["U8", "I32"])
def test_positions_lock_no_weights(path, dtype):
    positions = DenseTensor(dtype, np.arange(64, dtype=dense(dtype, ()).elements.dtype)[None])
    tensors = layer("embeddings", table=(FLOAT, (64, 8))) | layer("embeddings.kinds", weight=(FLOAT, (2, 4)))
    assert recognised(path, tensors | {"embeddings.position_ids": positions}) == ({}, set())


@pytest.mark.parametrize("dtype", ["U8", "I8", "I32"])
def test_a_mask_of_integers_locks_no_weights(path, dtype):
    mask = DenseTensor(dtype, np.tril(np.ones((16, 16))).astype(dense(dtype, ()).elements.dtype))
    attention = layer("attn", in_proj_weight=(FLOAT, (48, 16))) | layer("attn.out", weight=(FLOAT, (2, 4)))
    assert recognised(path, attention | {"attn.bias": mask, "attn.mask": mask}) == ({}, set())


def test_ordinary_layers_are_not_recognised(path):
    tensors = PLAIN | layer("a", scale=(FLOAT, (8,)), scales=(FLOAT, (8, 8)), weight_scale=(FLOAT, (8,)))
    tensors |= layer("b", weight_mask=(FLOAT, (8, 8)), other_orig=(FLOAT, (8,)), weight=(FLOAT, (8, 8)))
    assert recognised(path, tensors) == ({}, set())


def codes(*shape, dtype="i4"):
    return DenseTensor.from_numpy(np.random.default_rng(0).integers(0, 250, shape).astype(dtype))


CODEBOOKS = {
    "in a module of its own": {"l.indices": codes(1, 64, 4, dtype="u2"), "l.centroids.weight": dense(FLOAT, (1, 4096))},
    "beside codes of 64 bits": {"l.codes": codes(16, 8, dtype="i8"), "l.codebook": dense(FLOAT, (256, 8))},
    "with scales": {
        "l.codes": codes(16, 8, dtype="i8"),
        "l.codebooks": dense(FLOAT, (256, 8)),
        "l.scale": dense(FLOAT, (16, 1)),
    },
}


@pytest.mark.parametrize("case", CODEBOOKS)
def test_codebooks_of_any_size_belong_to_codes_of_any_width(path, case):
    found, exact = recognised(path, CODEBOOKS[case] | PLAIN)
    assert found == {UNKNOWN: set(CODEBOOKS[case])}
    assert exact == set(CODEBOOKS[case])


def test_a_codebook_without_codes_is_a_weight(path):
    _, exact = recognised(path, {"l.codebook": dense(FLOAT, (256, 8)), "l.index": codes(4, dtype="i8")} | PLAIN)
    assert exact == set()
