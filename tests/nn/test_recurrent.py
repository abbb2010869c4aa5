"""Packed LSTM, GRU and RNN give what torch gives with dense weights in float64, for all options."""

import copy
import io

import pytest
import torch
from running_models import assert_near, compressed, double, floats, packed_names
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import deepcompression as dc

INPUT, HIDDEN, TIME, BATCH = 96, 48, 6, 4
KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN, "relu": nn.RNN}
OPTIONS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "batch_first": True, "bias": False, "dropout": 0.3},
]


def recurrent(kind, **options):
    if kind in ("tanh", "relu"):
        options["nonlinearity"] = kind
    with torch.random.fork_rng():
        torch.manual_seed(1)
        # wide enough that all weights are packed
        hidden = 4 * HIDDEN if kind in ("tanh", "relu") else 2 * HIDDEN
        return compressed(KINDS[kind](INPUT, hidden, **options)).eval()


def states(module, batch, unbatched=False):
    count = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [module.proj_size or module.hidden_size]
    if isinstance(module, nn.LSTM):
        sizes.append(module.hidden_size)
    found = [floats(count, batch, size, seed=size) for size in sizes]
    if unbatched:
        found = [state[:, 0] for state in found]
    return tuple(found) if len(found) > 1 else found[0]


def wide(value):
    if isinstance(value, tuple) and not isinstance(value, PackedSequence):
        return tuple(part.double() for part in value)
    return None if value is None else value.to(torch.float64)


def assert_same(module, x, hx=None, bound=3e-6):
    small = dc.run(module)
    assert len(packed_names(small)) == sum("weight" in name for name, _ in module.named_parameters())
    with torch.no_grad():
        expected = double(module)(wide(x), wide(hx))
        found = small(x, hx)
    if isinstance(x, PackedSequence):
        assert torch.equal(found[0].batch_sizes, expected[0].batch_sizes)
        assert_near(found[0].data, expected[0].data, bound)
        assert_near(pad_packed_sequence(found[0])[0], pad_packed_sequence(expected[0])[0], bound)
    else:
        assert_near(found[0], expected[0], bound)
    pairs = zip(found[1], expected[1], strict=True) if isinstance(expected[1], tuple) else [(found[1], expected[1])]
    for one, other in pairs:
        assert_near(one, other, bound)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_sequences(kind, options, given):
    module = recurrent(kind, **options)
    shape = (BATCH, TIME, INPUT) if options.get("batch_first") else (TIME, BATCH, INPUT)
    assert_same(module, floats(*shape), states(module, BATCH) if given else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_nothing(kind):
    module = recurrent(kind, num_layers=2, bidirectional=True)
    x = floats(TIME, 0, INPUT)
    found, expected = dc.run(module)(x), module(x)
    assert found[0].shape == expected[0].shape
    assert [state.shape for state in found[1]] == [state.shape for state in expected[1]]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_sequences_without_a_batch(kind, given):
    module = recurrent(kind, num_layers=2, bidirectional=True, batch_first=True)
    assert_same(module, floats(TIME, INPUT), states(module, 1, unbatched=True) if given else None)


@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_unequal_length(kind, given, is_sorted):
    module = recurrent(kind, num_layers=2, bidirectional=True)
    lengths = [6, 4, 4, 1] if is_sorted else [4, 1, 6, 4]
    x = pack_padded_sequence(floats(TIME, BATCH, INPUT), lengths, enforce_sorted=is_sorted)
    assert_same(module, x, states(module, BATCH) if given else None)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_projections(options):
    module = recurrent("lstm", proj_size=64, **options)
    assert_same(module, floats(BATCH, TIME, INPUT), states(module, TIME if not options else BATCH))


def test_it_is_still_the_module_that_code_knows():
    small = dc.run(recurrent("lstm"))
    assert isinstance(small, nn.LSTM)
    small.flatten_parameters()
    assert small.weight_ih_l0.shape == (8 * HIDDEN, INPUT)
    x = floats(TIME, BATCH, INPUT)
    expected = small(x)[0]
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    for other in (copy.deepcopy(small), torch.load(file, weights_only=False), small.to("cpu").float()):
        assert torch.equal(other(x)[0], expected)
    other = dc.run(recurrent("lstm"))
    other.load_state_dict(small.state_dict())
    assert torch.equal(other(x)[0], expected)


def test_a_module_without_weights_that_pay_stays_as_it_is():
    module = nn.LSTM(5, 6, num_layers=2)
    small = dc.run(module)
    assert type(small) is nn.LSTM
    x = floats(TIME, BATCH, 5)
    assert torch.equal(small(x)[0], module(x)[0])
    small.weight_ih_l0 = nn.Parameter(torch.zeros_like(module.weight_ih_l0))
    assert not torch.equal(small(x)[0], module(x)[0])


def test_some_of_the_weights_may_be_dense():
    module = recurrent("lstm")
    small = dc.run(module, dense=["weight_hh*"])
    assert packed_names(small) == {"weight_ih_l0"}
    x = floats(TIME, BATCH, INPUT)
    assert_near(small(x)[0].detach(), double(module)(x.double())[0].detach(), 3e-6)


def test_dropout_while_training():
    small = dc.run(recurrent("gru", num_layers=2, dropout=0.5)).train()
    x = floats(TIME, BATCH, INPUT)
    assert not torch.equal(small(x)[0], small(x)[0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [((TIME, BATCH, INPUT + 1), "features"), ((INPUT,), "dimensions"), ((0, BATCH, INPUT), "one time step")],
)
def test_inputs_that_do_not_fit_are_refused(shape, message):
    small = dc.run(nn.Sequential(recurrent("lstm")))
    with pytest.raises(ValueError, match=f"^0: .*{message}"):
        small(torch.zeros(shape))


def test_states_that_do_not_fit_are_refused():
    small = dc.run(nn.Sequential(recurrent("lstm")))[0]
    x = floats(TIME, BATCH, INPUT)
    for hx in (torch.zeros(1, BATCH, 96), (torch.zeros(1, 2, 96), torch.zeros(1, 2, 96))):
        with pytest.raises(ValueError, match=r"^0: initial states have shapes"):
            small(x, hx)
