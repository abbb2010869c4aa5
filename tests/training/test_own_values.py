"""Buffers that no file holds, on the device meta: computed by the model's own code, or refused with the remedy."""

import pytest
import torch
from torch import nn

import deepcompression as dc


class Rotary(nn.Module):
    """Computes its buffer as torch's modules do, in `reset_parameters`."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3))
        self.register_buffer("frequencies", torch.empty(4), persistent=False)
        self.register_buffer("steps", torch.empty((), dtype=torch.int64), persistent=False)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.ones_(self.weight)
        self.frequencies.copy_(1 / torch.arange(1, 5))
        self.steps.fill_(7)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("positions", torch.arange(4), persistent=False)


class Around(nn.Module):
    """Computes the buffers of the modules inside as models of transformers do."""

    def __init__(self, forgets=False):
        super().__init__()
        self.inner = nn.Sequential(Plain(), Plain())
        self.forgets = forgets

    def _init_weights(self, module):
        if isinstance(module, Plain):
            nn.init.zeros_(module.weight)
            module.positions[: 3 if self.forgets else 4] = torch.arange(3 if self.forgets else 4)


def on_meta(kind, *arguments):
    with torch.device("meta"):
        return kind(*arguments)


def saved(model, tmp_path):
    dc.save(model, tmp_path / "m.dcz")
    return tmp_path / "m.dcz"


@pytest.mark.parametrize("kind", [Rotary, Around])
@pytest.mark.parametrize("way", ["load", "run"])
def test_the_models_own_code_computes_them(kind, way, tmp_path):
    model = kind()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    empty = on_meta(kind)
    path = saved(model, tmp_path)
    made = dc.load(path, into=empty) if way == "load" else dc.run(empty, path)
    expected = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found = {**dict(made.named_parameters()), **dict(made.named_buffers())}
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(tensor.is_meta for tensor in empty.buffers()) == (way == "run")


class Attribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.positions = torch.arange(4)


@pytest.mark.parametrize("make", [lambda: on_meta(Plain), lambda: on_meta(Attribute), lambda: on_meta(Around, True)])
@pytest.mark.parametrize("way", ["load", "run"])
def test_what_it_does_not_compute_is_refused_and_nothing_changes(make, way, tmp_path):
    empty = make()
    full = Around() if isinstance(empty, Around) else Plain()
    path = saved(full, tmp_path)
    message = r"positions.*: no memory .* build the model with buffers in memory, .* or on the CPU"
    with pytest.raises(ValueError, match=message):
        dc.load(path, into=empty) if way == "load" else dc.run(empty, path)
    assert all(parameter.is_meta for parameter in empty.parameters())


class Table(nn.Module):
    """Has a parameter that files may lack, as the positions of Marian."""

    _keys_to_ignore_on_load_missing = ("positions",)

    def __init__(self, random=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.positions = nn.Parameter(torch.arange(4.0), requires_grad=False)
        self.random = random

    def _init_weights(self, module):
        if module is self:
            nn.init.zeros_(self.weight)
            self.positions.copy_(torch.rand(4) if self.random else torch.arange(4.0))


@pytest.mark.parametrize("way", ["load", "run"])
def test_a_parameter_that_files_may_lack_is_computed_and_said(way, tmp_path):
    path = saved(Plain(), tmp_path)
    empty = on_meta(Table)
    with pytest.warns(match="positions|own code") as caught:
        made = dc.load(path, into=empty) if way == "load" else dc.run(empty, path)
    assert [str(each.message).partition(": ")[2] for each in caught] == [
        "these tensors of the model are not in the file, and are computed by its own code: positions"
    ]
    assert torch.equal(made.positions, torch.arange(4.0))
    assert isinstance(made.positions, nn.Parameter)
    assert not made.positions.requires_grad
    assert torch.equal(made.weight, torch.ones(3))


def test_a_parameter_that_is_random_is_refused(tmp_path):
    empty = on_meta(Table, True)
    with pytest.raises(ValueError, match=r"positions: no memory .*, no file holds it"):
        dc.load(saved(Plain(), tmp_path), into=empty)
    assert empty.weight.is_meta
