"""Packed weights in a computation that hooks, modes, compilers, transforms or derivatives follow."""

import pytest
import torch
from running_models import Named, assert_near, double, floats
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

import deepcompression as dc


@pytest.fixture
def dense():
    return Named()


@pytest.fixture
def small(dense):
    return dc.run(dense)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("input_wants", [True, False])
def test_backward_says_that_it_is_for_inference(bias, input_wants):
    small = dc.run(Named(bias=bias))
    x = floats(2, 80).requires_grad_(input_wants)
    output = small(x).relu_().sum()
    assert output.requires_grad == (bias or input_wants)
    if output.requires_grad:
        with pytest.raises(RuntimeError, match=r"inference only: fc\.weight"):
            output.backward()
    frozen = small.requires_grad_(False)
    assert not frozen(x.detach()).requires_grad


def test_autocast_gives_the_dtype_that_it_gives_of_dense_layers(dense, small):
    x = floats(3, 80)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert small(x).dtype == dense(x).dtype == torch.bfloat16


def test_vmap_and_dispatch_modes_see_the_product(dense, small):
    from torch.utils.flop_counter import FlopCounterMode

    x = floats(3, 80)
    expected = double(dense)(x.double()).detach()
    with torch.no_grad():
        assert_near(torch.func.vmap(small)(x), expected)
        assert_near(torch.func.vmap(small, in_dims=1, out_dims=1)(x.t()), expected.t())
    with torch.no_grad(), FlopCounterMode(display=False):
        assert_near(small(x), expected)


def seen_by_hooks(layer, x, register):
    """What a hook of torch's sees of a call."""
    seen = []
    handle = register(layer, seen)
    try:
        layer(x)
    finally:
        handle.remove()
    return seen


@pytest.mark.parametrize(
    "register",
    [
        lambda layer, seen: layer.register_forward_pre_hook(lambda module, args: seen.append(module)),
        lambda layer, seen: layer.register_forward_hook(lambda module, args, y: seen.append(module)),
        lambda layer, seen: register_module_forward_pre_hook(lambda module, args: seen.append(module)),
        lambda layer, seen: register_module_forward_hook(lambda module, args, y: seen.append(module)),
    ],
)
def test_hooks_are_called(small, register):
    with torch.no_grad():
        assert seen_by_hooks(small.fc, floats(1, 80), register) == [small.fc]


def test_a_forward_that_was_replaced_is_called(small):
    small.fc.forward = lambda x: x + 1
    assert torch.equal(small(floats(1, 80)), floats(1, 80) + 1)


def test_a_layer_that_was_compiled_by_itself_runs_compiled(small):
    seen = []
    small.fc.compile(backend=lambda graph, _: seen.append(graph) or graph.forward, fullgraph=True)
    with torch.no_grad():
        found = small.fc(floats(1, 80))
        assert torch.equal(found, small.fc.forward(floats(1, 80)))
    assert len(seen) == 1


def test_inputs_that_are_negated_when_they_are_read_are_computed_so(small):
    x = floats(3, 80)
    with torch.no_grad():
        assert torch.equal(small(torch._neg_view(x)), small(-x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "derive",
    [
        lambda f, x: torch.func.grad(lambda x: f(x).sum())(x),
        lambda f, x: torch.func.jacrev(f)(x),
        lambda f, x: torch.func.jvp(f, (x,), (x,)),
        lambda f, x: torch.func.vmap(torch.func.grad(lambda x: f(x).sum()))(x),
        lambda f, x: torch.func.grad(lambda x: torch.func.vmap(f)(x).sum())(x),
    ],
)
def test_derivatives_by_transforms_are_refused(small, derive):
    frozen = small.requires_grad_(False)
    with pytest.raises(RuntimeError, match=r"inference only: fc\.weight"):
        derive(frozen, floats(2, 80))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_derivatives_forward_are_refused_and_constants_are_not(small):
    x = floats(2, 80)
    expected = small(x)
    with forward_ad.dual_level():
        assert torch.equal(small(x), expected)
        with pytest.raises(RuntimeError, match=r"inference only: fc\.weight"):
            small(forward_ad.make_dual(x, x))


def test_a_tracer_by_symbols_is_refused_with_a_remedy(small):
    with pytest.raises(TypeError, match=r"fc\.weight: .* found Proxy: .*torch\.export\.export does"):
        torch.fx.symbolic_trace(small)


class Names(TorchDispatchMode):
    """The names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


def sees_autocast(layer, x):
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x).dtype == torch.bfloat16


def sees_a_mode(layer, x):
    with Names() as names:
        layer(x)
    return "deepcompression.linear.default" in names.seen


def sees_a_trace(layer, x):
    return "deepcompression::linear" in str(torch.jit.trace(layer, x).graph)


def sees_a_transform(layer, x):
    return torch.func.vmap(layer)(x).shape == (1, 96)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("watched", [sees_autocast, sees_a_mode, sees_a_trace, sees_a_transform])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_who_watches_is_seen_by_a_layer_that_was_called_unwatched(small, watched, context):
    x = floats(1, 80)
    with context():
        expected = small.fc(x)
        assert watched(small.fc, x)
        assert torch.equal(small.fc(x), expected)


def test_a_call_is_that_of_modules_for_all_who_ask(small):
    """Tracers compare it, and replace it on the base class."""
    assert type(small.fc).__call__ is nn.Module.__call__
    assert small.fc.__call__.__func__ is nn.Module.__call__
    x = floats(1, 80)
    assert torch.equal(small.fc(input=x), small.fc(x))
    assert torch.equal(small.fc.__call__(x), small.fc(x))
    with pytest.raises(TypeError):
        small.fc()
    with pytest.raises(TypeError):
        small.fc(x, x)
