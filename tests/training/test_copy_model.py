"""Copies of models with everything that hangs on them, by way of dc.run, which computes the same as before."""

import functools
import threading
import warnings
import weakref
from collections import deque

import pytest
import torch
from running_models import compressed, floats
from torch import nn
from torch.nn import functional

import deepcompression as dc


class Net(nn.Module):
    """Keeps its activations, in an attribute and deeper, and has a hook that is its own method."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(80, 96)
        self.kept, self.last, self.deep = [], None, deque()
        self.fc.register_forward_hook(self.keep)

    def keep(self, module, args, output):
        self.kept.append({"output": (output,)})

    def forward(self, x):
        self.last = self.fc(x)
        self.deep.append(self.last * 2)
        return self.last


def ran(model):
    """The running model, after the dense one has run, and what was said."""
    model = compressed(model)
    x = floats(3, 80)
    expected = model.eval()(x)
    before = dict(vars(model))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small = dc.run(model)
    assert torch.allclose(small(x), expected, atol=1e-5)
    assert dict(vars(model)) == before
    return model, small, [str(each.message) for each in caught]


def test_activations_that_a_module_keeps_are_copied_without_their_history():
    model, small, said = ran(Net())
    assert said == []
    assert len(model.kept) == 1
    assert len(small.kept) == 2
    assert not small.kept[0]["output"][0].requires_grad
    assert model.last.requires_grad


def test_tensors_with_a_history_may_be_buffers():
    layer = nn.Linear(80, 96)
    layer.register_buffer("norm", layer.weight.norm() * 2, persistent=False)
    assert torch.equal(ran(layer)[1].norm, layer.norm.detach())


@pytest.mark.parametrize("old", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_hooks_of_older_tools_go_on(old):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = nn.Sequential(nn.Linear(80, 96), old(nn.Linear(96, 80)))
    assert ran(model)[2] == []


class Slots:
    __slots__ = ("lock",)

    def __init__(self):
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (threading.Lock, "lock"),
        (threading.RLock, "RLock"),
        (threading.Condition, "RLock"),
        (lambda: [{"deep": threading.Lock()}], "lock"),
        (Slots, "lock"),
        (lambda: functools.partial(print, threading.Lock()), "lock"),
        (lambda: (number for number in range(3)), "generator"),
        (lambda: memoryview(b"abc"), "memoryview"),
    ],
)
def test_what_cannot_be_copied_is_shared_and_named(make, kind):
    model = nn.Sequential(nn.Linear(80, 96))
    model[0].tool = make()
    assert ran(model)[2] == [f"these attributes cannot be copied, and both models share them: 0.tool ({kind})"]


@pytest.mark.parametrize("tool", [lambda: 3, len, threading.Thread, nn, {"a": [1]}, torch.float32])
def test_code_and_values_are_copied_without_a_word(tool):
    layer = nn.Linear(80, 96)
    layer.tool = tool
    assert ran(layer)[2] == []


class Child(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(96, 96)

    def forward(self, x):
        above = self.above() if isinstance(self.above, weakref.ref) else self.above
        return self.fc(x) + above.scale


@pytest.mark.parametrize("kind", [weakref.ref, weakref.proxy])
def test_weak_references_to_modules_lead_to_their_copies(kind):
    model = nn.Sequential(nn.Linear(80, 96), Child())
    model.scale = 2.0
    model[1].__dict__["above"] = kind(model)
    _, small, said = ran(model)
    assert said == []
    model.scale, small.scale = 100.0, 5.0
    above = small[1].above
    assert (above() if kind is weakref.ref else above).scale == 5.0


class Refuses:
    def __deepcopy__(self, memo):
        raise RuntimeError("there is only one of me")


def test_what_refuses_to_be_copied_is_named_with_its_layer():
    model = nn.Sequential(nn.Linear(80, 96))
    model[0].tool = Refuses()
    message = r"^0\.tool is a Refuses, which refuses to be copied: remove it .*RuntimeError: there is only one of me"
    with pytest.raises(ValueError, match=message):
        dc.run(model)


def test_compiled_and_parallel_layers_inside_are_copied():
    inside = torch.compile(nn.Linear(80, 96), backend="eager")
    assert ran(nn.Sequential(inside, nn.DataParallel(nn.Linear(96, 64))))[2] == []


class Closures(nn.Module):
    """Computes by functions that hold the model, its parts and its weights; one counts its calls."""

    def __init__(self, calls):
        super().__init__()
        self.first, self.second = nn.Linear(80, 96), nn.Linear(96, 64)
        self.register_buffer("scale", torch.tensor(2.0))
        self.table = {"first": [lambda x: functional.linear(x, self.first.weight, self.first.bias)]}
        weight, times = self.second.weight, 0

        def second(x, *, bias=self.second.bias):
            nonlocal times
            times += 1
            calls.append(times)
            return functional.linear(x, weight, bias)

        self.steps = second
        self.kept = functools.partial(lambda module, x: x * module.scale, self)
        forward = self.first.forward
        self.first.forward = lambda x: forward(x).relu()

    def forward(self, x):
        return self.kept(self.steps(self.table["first"][0](x) + self.first(x)))


def test_functions_that_hold_the_model_hold_its_copy(tmp_path):
    """Otherwise a new module would compute from its own random weights."""
    calls = []
    trained, new = compressed(Closures(calls)), Closures(calls)
    dc.save(trained, tmp_path / "m.dcz")
    small = dc.run(new, tmp_path / "m.dcz")
    x = floats(3, 80)
    assert torch.allclose(small(x), trained(x), atol=1e-5)
    # what has no part of the model in it stays the caller's
    assert calls == [1, 1]


def test_lists_of_weights_hold_the_packed_ones(tmp_path):
    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(80, 96), nn.Linear(96, 4)
            self.weights = [self.first.weight, self.second.weight]

        def forward(self, x):
            return functional.linear(functional.linear(x, self.weights[0]), self.weights[1])

    trained = compressed(Lists())
    dc.save(trained, tmp_path / "m.dcz")
    small = dc.run(Lists(), tmp_path / "m.dcz")
    assert torch.allclose(small(floats(3, 80)), trained(floats(3, 80)), atol=1e-5)
    assert small.weights[0] is small.first.weight
    assert small.weights[1] is small.second.weight


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_that_hold_a_layer_hold_its_copy(hook, tmp_path):
    class Hooked(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(80, 96), nn.Linear(96, 96))
            last = self[1]
            getattr(last, hook)(lambda module, *values: last.bias + values[-1][0])

    trained = compressed(Hooked())
    dc.save(trained, tmp_path / "m.dcz")
    small = dc.run(Hooked(), tmp_path / "m.dcz")
    assert torch.allclose(small(floats(3, 80)), trained(floats(3, 80)), atol=1e-5)
