"""Packed attention gives what torch gives with dense weights in float64, for all options."""

import copy

import pytest
import torch
from running_models import assert_near, compressed, double, floats, packed_names
from torch import nn

import deepcompression as dc

EMBED, HEADS, BATCH, TARGETS, SOURCES = 64, 4, 3, 5, 7


def attention(**options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = nn.MultiheadAttention(EMBED, HEADS, **options)
        for bias in (module.in_proj_bias, module.out_proj.bias):
            if bias is not None:
                nn.init.normal_(bias)
        return compressed(module).eval()


def assert_same(module, *inputs, **options):
    """Compares with torch, with the weights of attention and without."""
    small = dc.run(module)
    assert packed_names(small)
    wide = tuple(x.double() for x in inputs)
    wide_options = {
        name: value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in options.items()
    }
    for need in ({"need_weights": False}, {}, {"average_attn_weights": False}):
        with torch.no_grad():
            expected = double(module)(*wide, **wide_options, **need)
            found = small(*inputs, **options, **need)
        # sums of rounded sums: a little more than one product
        assert_near(found[0], expected[0], 2e-6)
        assert (found[1] is None) == (expected[1] is None)
        if found[1] is not None:
            assert_near(found[1], expected[1], 2e-6)


OPTIONS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
    {"kdim": 72, "vdim": 80},
    {"kdim": 72, "vdim": 80, "batch_first": True, "bias": False, "add_zero_attn": True},
]


def cross_inputs(options, batched=True):
    shapes = [(TARGETS, BATCH, EMBED), (SOURCES, BATCH, options.get("kdim", EMBED))]
    shapes.append((SOURCES, BATCH, options.get("vdim", EMBED)))
    inputs = [floats(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    if not batched:
        return [x[:, 0] for x in inputs]
    return [x.transpose(0, 1) for x in inputs] if options.get("batch_first") else inputs


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("batched", [True, False])
def test_cross_attention(options, batched):
    assert_same(attention(**options), *cross_inputs(options, batched))


@pytest.mark.parametrize("options", OPTIONS[:6])
@pytest.mark.parametrize("batched", [True, False])
def test_self_attention(options, batched):
    x = cross_inputs(options, batched)[0]
    assert_same(attention(**options), x, x, x)


PADDING = torch.zeros(BATCH, SOURCES, dtype=torch.bool)
PADDING[0, 5:] = PADDING[2, 6:] = True
CAUSAL = torch.triu(torch.ones(TARGETS, SOURCES, dtype=torch.bool), 1)
MASKS = {
    "bool padding": {"key_padding_mask": PADDING},
    "float padding": {"key_padding_mask": PADDING.float() * -2.5},
    "bool mask": {"attn_mask": CAUSAL},
    "float mask": {"attn_mask": floats(TARGETS, SOURCES)},
    "mask by head": {"attn_mask": floats(BATCH * HEADS, TARGETS, SOURCES)},
    "both": {"key_padding_mask": PADDING, "attn_mask": CAUSAL},
    "both by head": {"key_padding_mask": PADDING, "attn_mask": floats(BATCH * HEADS, TARGETS, SOURCES) > 1.5},
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True}])
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_masks(kind, options):
    assert_same(attention(**options), *cross_inputs(options), **MASKS[kind])


def test_a_batch_of_nothing():
    small, x = dc.run(attention()), floats(TARGETS, 0, EMBED)
    y, scores = small(x, x, x, key_padding_mask=torch.zeros(0, TARGETS, dtype=torch.bool))
    assert (y.shape, scores.shape) == ((TARGETS, 0, EMBED), (0, TARGETS, TARGETS))


def test_the_causal_hint():
    x = floats(SOURCES, BATCH, EMBED)
    mask = nn.Transformer.generate_square_subsequent_mask(SOURCES)
    assert_same(attention(), x, x, x, attn_mask=mask, is_causal=True)
    with pytest.raises((ValueError, RuntimeError), match="attn_mask"):
        dc.run(attention())(x, x, x, is_causal=True, need_weights=False)


@pytest.mark.parametrize("kept", ["in_proj_weight", "out_proj.weight", "q_proj_weight"])
def test_some_of_the_projections_may_be_dense(kept):
    options = {"kdim": 72, "vdim": 80} if kept.startswith("q") else {}
    module = attention(**options)
    small = dc.run(module, dense=[kept])
    assert kept not in packed_names(small)
    inputs = cross_inputs(options)
    with torch.no_grad():
        assert_near(small(*inputs)[0], double(module)(*(x.double() for x in inputs))[0], 2e-6)


def test_dropout_while_training_and_narrow_floats():
    module = attention(dropout=0.5)
    small = dc.run(module).train()
    x = floats(SOURCES, BATCH, EMBED)
    with torch.no_grad():
        assert not torch.equal(small(x, x, x)[0], small(x, x, x)[0])
        narrow = dc.run(copy.deepcopy(module).bfloat16())
        found = narrow(*[x.bfloat16()] * 3)[0]
    assert found.dtype == torch.bfloat16
    assert_near(found, module(x, x, x)[0].detach(), 3e-2)


@pytest.mark.parametrize("layer", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_layers_of_transformers_compute_the_same(layer, batch_first, grad):
    """In eval mode these have a fast path that reads the weights themselves."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        one = layer(EMBED, HEADS, 128, batch_first=batch_first)
        if layer is nn.TransformerEncoderLayer:
            module = nn.TransformerEncoder(one, 2, enable_nested_tensor=batch_first)
        else:
            module = nn.TransformerDecoder(one, 2)
        module = compressed(module).eval()
    small = dc.run(module)
    assert len(packed_names(small)) == 2 * (4 if layer is nn.TransformerEncoderLayer else 6)
    x = floats(BATCH, TARGETS, EMBED)
    inputs = (x,) if layer is nn.TransformerEncoderLayer else (x, floats(BATCH, TARGETS, EMBED, seed=4))
    with torch.set_grad_enabled(grad):
        found = small(*inputs).detach()
        expected = double(module)(*(x.double() for x in inputs)).detach()
    assert_near(found, expected, 5e-6)


@pytest.mark.parametrize("grad", [False, True])
def test_padding_makes_no_nested_tensors_of_packed_layers(grad):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layer = nn.TransformerEncoderLayer(EMBED, HEADS, 128, batch_first=True)
        module = compressed(nn.TransformerEncoder(layer, 2)).eval()
    x = floats(BATCH, SOURCES, EMBED)
    with torch.set_grad_enabled(grad):
        found = dc.run(module)(x, src_key_padding_mask=PADDING)
    expected = double(module)(x.double(), src_key_padding_mask=PADDING)
    assert_near(found[~PADDING].detach(), expected[~PADDING].detach(), 5e-6)


def test_shapes_that_do_not_fit_are_refused():
    small = dc.run(attention())
    with pytest.raises(ValueError, match="attention over 64 features"):
        small(floats(5, 2, 60), floats(5, 2, 60), floats(5, 2, 60))
    with pytest.raises(ValueError, match="attention over 64 features"):
        small(floats(5, 2, 64), floats(7, 2, 64), floats(6, 2, 64))


def test_an_explanation_never_cuts_names():
    text = str(dc.explain(dc.run(attention())))
    shown = ["".join(line.split("│")[2].strip() for line in text.splitlines() if line.startswith("│"))]
    assert "NonDynamicallyQuantizableLinear" in shown[0]
