"""Models in both stages, traced, exported and transformed by torch: the graph computes pruned or shared weights."""

from __future__ import annotations

import io

import pytest
import torch
from models import MODELS, example, make
from torch import nn
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap

import deepcompression as dc
from deepcompression.training.parametrizations import Codebook, Mask

# torch compiles some of its own derivatives by torch.jit
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

STAGES = ["pruned", "shared", "int8", "int16"]
KINDS = ["mlp", "conv-net", "tied", "own"]


def in_stage(model, stage):
    grid = stage if stage.startswith("int") else None
    rule = dc.Rule(module="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=3, codebook_grid=grid))
    dc.prune(model, dc.Recipe(rules=[rule]))
    if stage != "pruned":
        dc.share(model, dc.Recipe(rules=[rule]))
    return model.eval()


def traced(model, x):
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, x), file)
    file.seek(0)
    return torch.jit.load(file)


def exported(strict):
    return lambda model, x: torch.export.export(model, (x,), strict=strict).module()


def to_onnx(model, x):
    onnxruntime = pytest.importorskip("onnxruntime")
    file = io.BytesIO()
    torch.onnx.export(model, (x,), file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (argument,) = session.get_inputs()
    return lambda x: torch.from_numpy(session.run(None, {argument.name: x.numpy()})[0])


WAYS = {"traced": traced, "exported": exported(False), "exported strictly": exported(True), "onnx": to_onnx}


# torch's own exporters warn about themselves
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_graph_computes_what_the_model_computes(way, kind, stage):
    model, x = in_stage(make(kind), stage), example(kind)
    torch.testing.assert_close(WAYS[way](model, x)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", STAGES)
def test_a_recurrent_model_is_exported(stage):
    model, x = in_stage(make("recurrent"), stage), example("recurrent")
    for way in ("traced", "exported", "exported strictly"):
        torch.testing.assert_close(WAYS[way](model, x)(x), model(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", STAGES)
def test_a_traced_model_has_the_same_gradients(stage):
    model, x = in_stage(make("mlp"), stage), example("mlp")
    graph = torch.jit.trace(model, x)
    found = [torch.autograd.grad(net(x).square().sum(), list(net.parameters())) for net in (graph, model)]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_transforms_take_the_parameters(kind, stage):
    """Forward mode agrees with backward mode, a batch of parameters with each alone."""
    model, x = in_stage(make(kind), stage), example(kind)
    parameters = {name: each.detach() for name, each in model.named_parameters()}
    tangents = {name: torch.randn_like(each) for name, each in parameters.items()}

    def call(parameters):
        return functional_call(model, parameters, (x,))

    outputs, forward = jvp(call, (parameters,), (tangents,))
    torch.testing.assert_close(outputs, model(x))
    _, backward = vjp(call, parameters)
    weights = torch.randn_like(outputs)
    (gradients,) = backward(weights)
    total = sum((gradients[name] * tangents[name]).sum() for name in parameters)
    torch.testing.assert_close((weights * forward).sum(), total, rtol=1e-3, atol=1e-3)
    stacked = {name: torch.stack([each, 2 * each]) for name, each in parameters.items()}
    twice = {name: 2 * each for name, each in parameters.items()}
    torch.testing.assert_close(vmap(call)(stacked), torch.stack([call(parameters), call(twice)]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_of_each_sample_add_up(stage):
    model, x = in_stage(make("mlp"), stage), example("mlp")
    parameters = {name: each.detach() for name, each in model.named_parameters()}
    each = vmap(grad(lambda p, one: functional_call(model, p, (one[None],)).square().sum()), (None, 0))(parameters, x)
    model(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(each[name].sum(0), parameter.grad)


@pytest.mark.parametrize("stage", ["pruned", "shared"])
def test_jacobians_agree(stage):
    model, x = in_stage(nn.Linear(3, 2), stage), torch.randn(2, 3)
    parameters = {name: each.detach() for name, each in model.named_parameters()}
    found = [way(lambda p: functional_call(model, p, (x,)))(parameters) for way in (jacrev, jacfwd)]
    torch.testing.assert_close(found[0], found[1])


class Cube(nn.Module):
    def forward(self, x):
        return x**3


def test_derivatives_of_first_and_second_order_are_right():
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    mask = Mask(torch.rand(3, 4) > 0.5)
    codebook = Codebook((3, 4), torch.arange(0, 12, 2), torch.arange(6).to(torch.uint8) % 4, 4)
    centroids = torch.randn(4, dtype=torch.float64, requires_grad=True)
    # PyTorch's own checks in numbers
    for function, at in ((mask, weight), (codebook, centroids)):
        cubed = nn.Sequential(function, Cube())
        assert torch.autograd.gradcheck(cubed, at, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(cubed, at)


# float16 and bfloat16 have no codebook on the grid int16
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", sorted(MODELS.keys() - {"f16", "bf16"}))
def test_models_run_on_the_device_meta(kind, stage):
    model, x = in_stage(make(kind), stage).to("meta"), example(kind).to("meta")
    assert model(x).is_meta
