"""Codebooks on a grid: rounding, recognition, and that training, saving and checkpoints keep them there."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import MODELS, assert_same, bits, dense, example, make, snapshot, train_step
from torch import nn

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share
from deepcompression.codebook import CODEBOOKS, share_values
from deepcompression.grid import LIMITS, digits_on_grid, grid_of, grid_scale, to_grid
from deepcompression.model import read_model
from deepcompression.parametrize import Codebook, attach_codebook, original, parametrization
from deepcompression.share import share_array
from deepcompression.targets import targets_of
from deepcompression.tensor import WEIGHT_DTYPES, CompressedTensor, DenseTensor, narrow, widen
from deepcompression.torch_tensor import from_torch, to_torch

HALVES = ("F16", "BF16")
PAIRS = [(grid, dtype) for grid in LIMITS for dtype in WEIGHT_DTYPES if grid == "int8" or dtype not in HALVES]
KINDS = [(grid, kind) for grid in LIMITS for kind in MODELS if grid == "int8" or kind not in ("f16", "bf16")]

# every magnitude that float32 has, subnormals and both zeros included, alone and beside others of its own magnitude
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
NEAR = st.builds(lambda value, scale: float(np.float32(value * scale)), st.floats(-1, 1), st.sampled_from([1, 0.03125]))
CODEBOOK = st.lists(ANY, max_size=6) | st.lists(NEAR, min_size=1, max_size=20)


def codebook_in(values, dtype):
    """Centroids as a tensor of the dtype has them, as ordinary floats; what is too large for it is its largest."""
    top = {"F16": 65504.0, "BF16": float((2 - 2.0**-7) * 2.0**127)}.get(dtype, math.inf)
    values = np.clip(np.array(values, np.float64), -top, top).astype(np.float32)
    return widen(narrow(values, dtype), dtype)


def significant_bits(value):
    """Of a positive number: those between its first bit set and its last one."""
    numerator = Fraction(value).numerator
    return (numerator // (numerator & -numerator)).bit_length()


# the grid


@pytest.mark.parametrize(
    ("grid", "dtype", "scale_bits"),
    [("int8", "F32", 17), ("int8", "F64", 17), ("int8", "F16", 4), ("int8", "BF16", 1), ("int16", "F32", 9)],
)
def test_a_scale_has_the_bits_that_its_digits_leave(grid, dtype, scale_bits):
    assert grid_of(grid, dtype).scale_bits == scale_bits


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
def test_every_multiple_of_the_largest_and_of_the_smallest_scale_is_exact(grid, dtype):
    found = grid_of(grid, dtype)
    for scale in (found.least_scale, found.largest_scale, found.least_scale * (2**found.scale_bits - 1)):
        multiples = scale * np.arange(found.limit + 1)
        stored = widen(narrow(multiples.astype(np.float64), dtype), dtype).astype(np.float64)
        assert np.array_equal(stored, multiples)


def twin_scale(codebook, grid, dtype):
    """The smallest scale whose largest digit suffices, in rational numbers."""
    found = grid_of(grid, dtype)
    needed = Fraction(max((abs(float(np.float32(value))) for value in codebook), default=0)) / found.limit
    step = Fraction(found.least_scale)
    while -(-needed // step) >= 1 << found.scale_bits:
        step *= 2
    return min(max(-(-needed // step), 1) * step, Fraction(found.largest_scale))


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_the_scale_is_that_of_the_slow_twin(grid, dtype, values):
    codebook = codebook_in(values, dtype)
    assert grid_scale(codebook, grid, dtype) == twin_scale(codebook, grid, dtype)


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_centroids_are_rounded_to_multiples_of_the_scale(grid, dtype, values):
    codebook = codebook_in(values, dtype)
    found, scale = to_grid(codebook, grid, dtype), Fraction(grid_scale(codebook, grid, dtype))
    assert found.dtype == codebook.dtype
    assert widen(narrow(found, dtype), dtype).tobytes() == found.tobytes(), "not exact in the dtype"
    largest = max(map(abs, codebook.tolist()), default=0)
    for before, after in zip(codebook.tolist(), found.tolist(), strict=True):
        digit = Fraction(after) / scale
        assert digit.denominator == 1
        assert abs(digit) <= LIMITS[grid]
        assert math.copysign(1, after) == (math.copysign(1, before) if after else 1)
        if largest <= scale * LIMITS[grid]:
            assert abs(Fraction(after) - Fraction(before)) <= (scale if abs(before) == largest else scale / 2)


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_a_codebook_on_the_grid_stays_as_it_is(grid, dtype, values):
    once = to_grid(codebook_in(values, dtype), grid, dtype)
    assert to_grid(once, grid, dtype).tobytes() == once.tobytes()


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
def test_the_largest_centroid_has_the_largest_digit_where_scales_are_fine(dtype):
    codebook = codebook_in([0.1, -0.7, 0.30000001], dtype)
    digits = np.rint(to_grid(codebook, "int8", dtype) / grid_scale(codebook, "int8", dtype))
    assert digits.tolist() == {"F16": [17, -120, 51], "BF16": [13, -90, 38]}.get(dtype, [18, -127, 54])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_finite_is_left_alone(bad):
    codebook = np.array([0.3, bad, -1.0])
    assert to_grid(codebook, "int8", "F64").tobytes() == codebook.tobytes()
    assert digits_on_grid(codebook) is None


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="unknown grid 'int4'; known are int8, int16"):
        grid_of("int4")


# recognition


def twin_digits(codebook):
    """Every largest digit tried: the grid, the scale and the digits of the first that explains all centroids."""
    # in units of the smallest positive float32, of which every scale is a multiple
    values = [int(Fraction(value) * 2**149) for value in codebook.tolist()]
    largest = max(map(abs, values))
    for grid, limit in LIMITS.items():
        for digit in range(1, limit + 1):
            scale, rest = divmod(largest, digit)
            fits = not rest and scale and significant_bits(scale) <= grid_of(grid).scale_bits
            if fits and not any(value % scale for value in values):
                return grid, math.ldexp(scale, -149), [value // scale for value in values]
    return None


# few significant bits each, so that common scales are common
COARSE = st.builds(math.ldexp, st.integers(-(2**9), 2**9), st.sampled_from([-149, -148, -3, 0]))
ROUGH = st.integers(-(2**24) + 1, 2**24 - 1).map(lambda value: value / 64)


@settings(deadline=None)
@given(st.lists(COARSE, min_size=1, max_size=4).filter(any) | st.lists(ROUGH, min_size=1, max_size=2).filter(any))
def test_recognition_is_that_of_the_slow_twin(values):
    codebook = np.array(values, np.float32)
    found, expected = digits_on_grid(codebook), twin_digits(codebook)
    assert (found and (found.grid, found.scale, found.digits.tolist())) == expected


@pytest.mark.parametrize("grid", LIMITS)
@given(
    exponent=st.integers(-149, 90),
    significand=st.integers(1),
    digits=st.lists(st.integers(-32639, 32639), min_size=1, max_size=20),
)
def test_any_scale_of_so_few_bits_is_recognised_whatever_the_largest_digit(grid, exponent, significand, digits):
    found = grid_of(grid)
    scale = (1 + significand % (2**found.scale_bits - 1)) * 2.0**exponent
    digits = np.array([int(math.fmod(digit, found.limit + 1)) for digit in digits])
    codebook = (digits * scale).astype(np.float32)
    recognised = digits_on_grid(codebook)
    assert recognised.grid in ("int8", grid)
    assert np.abs(recognised.digits).max() <= LIMITS[recognised.grid]
    assert (np.float32(recognised.scale) * recognised.digits.astype(np.float32)).tobytes() == codebook.tobytes()


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_what_is_rounded_to_a_grid_is_recognised(grid, dtype, values):
    codebook = to_grid(codebook_in(values, dtype), grid, dtype)
    found = digits_on_grid(codebook)
    assert found.grid in ("int8", grid)
    assert np.array_equal(np.float32(found.scale) * found.digits.astype(np.float32), codebook.astype(np.float32))


@pytest.mark.parametrize(
    ("codebook", "expected"),
    [
        ([], ("int8", 1.0, [])),
        ([0.0], ("int8", 1.0, [0])),
        ([-0.0, 0.0], ("int8", 1.0, [0, 0])),
        ([-0.0, 3.0, 0.0], ("int8", 3.0, [0, 1, 0])),
        ([0.75], ("int8", 0.75, [1])),
        ([-0.5, -1.5], ("int8", 0.5, [-1, -3])),
        ([2.0**-149, 127 * 2.0**-149], ("int8", 2.0**-149, [1, 127])),
        ([2.0**-149, 128 * 2.0**-149], ("int16", 2.0**-149, [1, 128])),
        ([2.0**127], ("int8", 2.0**127, [1])),
        ([-127.0, 1.0], ("int8", 1.0, [-127, 1])),
        ([-128.0, 1.0], ("int16", 1.0, [-128, 1])),
        ([32639.0, 1.0], ("int16", 1.0, [32639, 1])),
        ([32768.0, 1.0], None),
        ([float((2**17 - 1) * 127)], ("int8", 2.0**17 - 1, [127])),
        ([float(2**24 - 3)], None),  # a prime: no scale of 17 bits
        ([float(np.float32(0.1))], None),
        ([math.nan], None),
        ([1.0, math.inf], None),
        ([-math.inf], None),
        ([1.0, 1 / 3], None),
        ([2.0**-1074], None),
        ([1e300], None),
    ],
)
def test_the_edges_of_recognition(codebook, expected):
    found = digits_on_grid(np.array(codebook, np.float64))
    assert (found and (found.grid, found.scale, found.digits.tolist())) == expected


@pytest.mark.parametrize("seed", range(5))
def test_an_ordinary_codebook_is_on_no_grid(seed):
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(3000).astype(np.float32)
    assert digits_on_grid(share_values(values, 4).codebook) is None


# sharing


def normal(size, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size).astype(np.float32)


def check_shared(values, shared, grid):
    codebook, codes = shared
    assert (np.diff(codebook) > 0).all()
    assert set(codes.tolist()) == set(range(len(codebook))), "a centroid without a value"
    distances = np.abs(values.astype(np.float64)[:, None] - codebook.astype(np.float64))
    assert np.array_equal(distances.argmin(1), codes)
    assert digits_on_grid(codebook).grid in ("int8", grid)


@pytest.mark.parametrize("grid", LIMITS)
@pytest.mark.parametrize("init", CODEBOOKS)
@given(
    values=st.lists(NEAR, min_size=1, max_size=60).map(lambda values: np.array(values, np.float32)),
    width=st.integers(1, 8),
)
def test_values_go_to_the_nearest_rounded_centroid_and_each_centroid_has_one(grid, init, values, width):
    check_shared(values, share_values(values, width, init, grid=grid), grid)


def test_centroids_that_round_to_one_digit_become_one_when_sharing():
    values = np.array([-1, 0.001, 0.002, 0.5, 1], np.float32)
    assert share_values(values, 3).codebook.size == 5
    assert share_values(values, 3, grid="int8").codebook.size == 4


def test_a_largest_centroid_that_no_value_is_nearest_to_goes():
    """In bfloat16, 1.003 is rounded up by most of a step of 1/64, away from its only value."""
    values = np.array([1.0, 1.003], np.float32)
    codebook, codes = share_values(values, 8, grid="int8", dtype="BF16")
    assert codebook.tolist() == [1.0]
    assert codes.tolist() == [0, 0]


@pytest.mark.parametrize("count", [300, 4000])
@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@pytest.mark.parametrize("seed", range(8))
def test_an_array_is_shared_on_the_grid(grid, dtype, seed, count):
    values = widen(narrow(normal(count, seed), dtype), dtype)
    shared = share_array(values, np.ones(count, bool), Share(bits=6, codebook_grid=grid), seed, dtype)
    codebook = widen(shared.codebook, dtype)
    check_shared(values.astype(np.float32), (codebook.astype(np.float32), shared.codes), grid)
    assert to_grid(codebook, grid, dtype).tobytes() == codebook.tobytes()


@pytest.mark.parametrize("dtype", HALVES)
def test_a_dtype_that_cannot_hold_int16_is_refused_by_name_and_nothing_is_changed(dtype):
    model = make(dtype.lower())
    before = snapshot(model)
    rules = [Rule(module="[02]", share=Share(bits=2)), Rule(module="4", share=Share(bits=2, codebook_grid="int16"))]
    message = (
        rf"4\.weight: {dtype} has \d+ significant bits, too few for .* int16 grid: use int8, or make the weights F32"
    )
    with pytest.raises(ValueError, match=message):
        dc.share(model, Recipe(rules=rules))
    assert_same(snapshot(model), before)
    with pytest.raises(ValueError, match=message):
        dc.compress_tensors(read_model(model), Recipe(rules=rules))


def test_a_grid_that_the_dtype_cannot_hold_is_refused_where_nothing_survives_too():
    with pytest.raises(ValueError, match="F16 has 11 significant bits, too few"):
        share_array(np.zeros(3, np.float16), np.zeros(3, bool), Share(bits=2, codebook_grid="int16"), 0, "F16")


# the parametrization


def on_grid(grid, centroids):
    survivors = len(centroids)
    book = Codebook((survivors,), torch.arange(survivors), torch.zeros(survivors, dtype=torch.uint8), survivors, grid)
    return book.on_grid(centroids)


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_a_model_rounds_as_numpy_does_bit_for_bit(grid, dtype, values):
    codebook = codebook_in(values, dtype)
    expected = DenseTensor(dtype, narrow(to_grid(codebook, grid, dtype), dtype))
    assert bits(on_grid(grid, to_torch(DenseTensor(dtype, narrow(codebook, dtype))))) == bits(to_torch(expected))


@pytest.mark.parametrize("grid", LIMITS)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=9))
def test_doubles_that_no_float32_has_are_rounded_as_numpy_does(grid, values):
    codebook = np.array(values)
    assert (
        on_grid(grid, torch.tensor(values, dtype=torch.float64)).numpy().tobytes()
        == to_grid(codebook, grid, "F64").tobytes()
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_training_that_diverges_shows(bad):
    centroids = torch.tensor([0.3, bad, -1.0])
    assert bits(on_grid("int8", centroids)) == bits(centroids)


@pytest.mark.parametrize("grid", LIMITS)
def test_the_gradient_passes_unchanged(grid):
    centroids = torch.tensor([0.3, -0.001, -1.0, 0.0], requires_grad=True)
    gradient = torch.tensor([1.0, -2.0, 3.0, 4.0])
    (on_grid(grid, centroids) * gradient).sum().backward()
    assert torch.equal(centroids.grad, gradient)


def recipe(grid="int8", width=2, density=None, **selector):
    prune = None if density is None else Prune(density=density)
    share = Share(bits=width, codebook_grid=grid)
    return Recipe(rules=[Rule(**(selector or {"tensor": "*"}), prune=prune, share=share)])


def trained(kind, grid, steps=2, **options):
    """A model shared on a grid and trained a little, so that its parameters are off the grid."""
    model = make(kind)
    if "density" in options:
        dc.prune(model, recipe(grid, **options))
    dc.share(model, recipe(grid, **options))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(steps):
        train_step(model, optimizer, example(kind))
    return model


def check_on_grid(values, grid):
    found = digits_on_grid(np.unique(values))
    assert found is not None
    assert found.grid in ("int8", grid)


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_model_computes_on_the_grid_in_every_step_of_training(grid, kind):
    model = trained(kind, grid, steps=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(3):
        train_step(model, optimizer, example(kind))
        for target in targets_of(model):
            if target.trained:
                check_on_grid(from_torch(target.name, getattr(*target.places[0])).numpy(), grid)
    parameters = [original(target) for target in targets_of(model) if target.trained and target.count]
    assert not all(torch.equal(on_grid(grid, parameter), parameter) for parameter in parameters)


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_file_has_the_grid_bit_for_bit_as_the_model_had_it(grid, kind, tmp_path):
    model = trained(kind, grid, density=0.6)
    dc.save(model, tmp_path / "m.dcz")
    assert_same(dense(dc.load(tmp_path / "m.dcz", into=make(kind, seed=1))), dense(model))
    arrays = dc.load_tensors(tmp_path / "m.dcz")
    with dc.DczFile(tmp_path / "m.dcz") as file:
        for target in targets_of(model):
            if not target.trained:
                continue
            check_on_grid(arrays[target.name], grid)
            tensor = file.read(target.name)
            if isinstance(tensor, CompressedTensor):
                check_on_grid(widen(tensor.codebook, tensor.dtype), grid)


@pytest.mark.parametrize("grid", LIMITS)
@pytest.mark.parametrize("seed", range(10))
def test_the_grid_that_was_asked_for_is_found_in_the_file(grid, seed, tmp_path):
    model = nn.Linear(40, 30)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(normal(1200, seed).reshape(30, 40)))
    dc.share(model, recipe(grid, 4, module="*"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        train_step(model, optimizer, torch.from_numpy(normal(160, seed + 1).reshape(4, 40)))
    dc.save(model, tmp_path / "m.dcz")
    found = digits_on_grid(np.unique(dc.load_tensors(tmp_path / "m.dcz")["weight"]))
    assert found.grid == grid
    assert len(np.unique(found.digits)) == 16


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_model_made_plain_and_a_copy_have_the_weights_that_were_seen(grid, kind):
    model = trained(kind, grid)
    seen, copied = dense(model), copy.deepcopy(model)
    assert_same(copied.state_dict(), model.state_dict())
    assert_same(dense(copied), seen)
    assert_same(dense(dc.finalize(model)), seen)
    optimizer = torch.optim.SGD(copied.parameters(), lr=0.01)
    train_step(copied, optimizer, example(kind))
    for target in targets_of(copied):
        if target.trained:
            check_on_grid(from_torch(target.name, getattr(*target.places[0])).numpy(), grid)


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_checkpoint_is_shared_on_the_grid_as_a_model_is(grid, kind):
    model = make(kind)
    tensors = {name: tensor for name, tensor in read_model(model).items() if isinstance(tensor, DenseTensor)}
    found = dc.compress_tensors(tensors, recipe(grid, 3, module="*"))
    dc.share(model, recipe(grid, 3, module="*"))
    expected = read_model(model)
    for target in targets_of(model):
        if parametrization(target) is not None:
            for part in ("codebook", "codes", "positions"):
                assert getattr(found[target.name], part).tobytes() == getattr(expected[target.name], part).tobytes()
            check_on_grid(found[target.name].numpy(), grid)


def test_a_codebook_says_its_grid_and_goes_through_pickle():
    book = parametrization(targets_of(trained("mlp", "int16"))[0])
    assert "4 centroids, int16 grid" in repr(book)
    loaded = pickle.loads(pickle.dumps(book))
    assert loaded.grid == "int16"
    centroids = torch.tensor([0.1, 0.2, 0.3, 0.7])
    assert bits(loaded(centroids)) == bits(book(centroids))


def test_a_codebook_pickled_before_there_were_grids_has_none():
    book = Codebook((2,), torch.arange(2), torch.arange(2, dtype=torch.uint8), 2)
    del book.__dict__["grid"]
    assert pickle.loads(pickle.dumps(book))(torch.tensor([0.1, 0.7])).tolist() == torch.tensor([0.1, 0.7]).tolist()


def test_weights_on_the_grid_that_are_assigned_stay_as_they_are():
    model = trained("mlp", "int8")
    seen = dense(model)["0.weight"]
    model[0].weight = seen
    assert torch.equal(model[0].weight, seen)


def test_int16_does_not_follow_to_a_dtype_that_cannot_hold_it():
    assert trained("mlp", "int8").half()(example("f16")).dtype == torch.float16
    with pytest.raises(ValueError, match="F16 has 11 significant bits, too few"):
        trained("mlp", "int16").half()(example("f16"))


# two centroids at one point, and centroids of zero


def with_centroids(values, grid="int8"):
    """A layer of one row, one weight for each centroid."""
    model = nn.Linear(len(values), 1, bias=False)
    codes = torch.arange(len(values), dtype=torch.uint8)
    attach_codebook(targets_of(model)[0], torch.arange(len(values)), codes, torch.tensor(values), grid)
    return model


def test_centroids_at_one_point_are_one_in_a_file_and_part_again_in_training(tmp_path):
    model = with_centroids([12.7, 1.01, 0.99, -0.001, 0.001])
    assert torch.equal(model.weight, torch.from_numpy(to_grid(np.array([[12.7, 1, 1, 0, 0]], np.float32), "int8")))
    tensor = read_model(model)["weight"].canonical()
    assert digits_on_grid(tensor.codebook).digits.tolist() == [0, 10, 127]
    assert tensor.codes.tolist() == [2, 1, 1, 0, 0]
    dc.save(model, tmp_path / "m.dcz")
    assert_same(dense(dc.load(tmp_path / "m.dcz", nn.Linear(5, 1, bias=False))), dense(model))
    with torch.no_grad():
        original(targets_of(model)[0])[1] = 1.2
    assert len(model.weight.unique()) == 4


@pytest.mark.parametrize("values", [[-0.0, 0.0], [-0.0, 5.0], [-1e-9, 1.0, 1e-9], [0.0]])
def test_a_centroid_of_zero_has_no_sign_and_is_trained(values, tmp_path):
    model = with_centroids(values)
    assert not np.signbit(model.weight.detach().numpy()[model.weight.detach().numpy() == 0]).any()
    dc.save(model, tmp_path / "m.dcz")
    assert_same(dense(dc.load(tmp_path / "m.dcz", nn.Linear(len(values), 1, bias=False))), dense(model))
    model.weight.sum().backward()
    assert original(targets_of(model)[0]).grad.tolist() == [1.0] * len(values)


# checkpoints in mid-stage


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_resumed_run_goes_on_bit_for_bit(grid, kind):
    model, x = trained(kind, grid), example(kind)
    resumed = make(kind, seed=1)
    dc.resume(resumed, snapshot(model))
    assert_same(resumed.state_dict(), model.state_dict())
    assert_same(dense(resumed), dense(model))
    first, second = (torch.optim.SGD(net.parameters(), lr=0.01) for net in (model, resumed))
    for _ in range(3):
        train_step(model, first, x)
        train_step(resumed, second, x)
    assert_same(resumed.state_dict(), model.state_dict())
    assert_same(dense(resumed), dense(model))


def test_a_checkpoint_without_a_grid_has_the_parts_it_always_had():
    model = trained("mlp", None)
    parts = {name.partition("weight.")[2] for name in model.state_dict() if "weight" in name}
    assert parts == {"original", "0.positions", "0.codes"}
    resumed = make("mlp", seed=1)
    dc.resume(resumed, model.state_dict())
    assert {parametrization(target).grid for target in targets_of(resumed)} == {None}
    assert torch.equal(resumed[0].weight.unique(), model[0].parametrizations.weight.original.sort().values)


def test_a_state_of_another_grid_is_not_loaded_unnoticed():
    model = trained("mlp", "int8")
    for grid in (None, "int16"):
        with pytest.raises(RuntimeError, match=r'Unexpected key.*weight\.0\.int8"'):
            trained("mlp", grid).load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"int16": torch.tensor(32639)}, r"its codebook is on one grid; found int8 and int16"),
        ({"int8": torch.tensor(128)}, r"0\.int8 is 128, \[\] of torch\.int64, expected 127, \[\] of torch\.int64"),
        ({"int8": torch.tensor([127])}, r"0\.int8 is \[127\], \[1\] of torch\.int64"),
        ({"int8": torch.tensor(127.0)}, r"0\.int8 is 127\.0, \[\] of torch\.float32"),
        ({"int4": torch.tensor(7)}, r"0\.int4 is not in the model"),
    ],
)
def test_a_state_whose_grid_is_no_grid_is_refused(change, message):
    state = snapshot(trained("mlp", "int8"))
    state |= {f"4.parametrizations.weight.0.{part}": tensor for part, tensor in change.items()}
    model = make("mlp", seed=1)
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        dc.resume(model, state)
    assert_same(snapshot(model), before)


def test_a_state_whose_dtype_cannot_hold_its_grid_is_refused():
    state = snapshot(trained("mlp", "int16"))
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    with pytest.raises(ValueError, match=r"0\.weight: F16 has 11 significant bits, too few"):
        dc.resume(make("f16"), state)


# training reaches what it reaches without a grid


@cache
def loss_after_training(grid, seed, width):
    """Of a small network that is shared and then trained to be another one."""
    x = torch.from_numpy(normal(12 * 200, seed).reshape(200, 12))
    teacher, model = make("mlp", seed=seed + 10), make("mlp", seed=seed)
    with torch.no_grad():
        wanted = 5 * teacher(x)

    def train(steps, rate):
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            (model(x) - wanted).square().mean().backward()
            optimizer.step()
            schedule.step()

    train(150, 0.02)
    dc.share(model, recipe(grid, width, module="*"))
    train(150, 0.005)
    with torch.no_grad():
        return float((model(x) - wanted).square().mean())


@pytest.mark.parametrize("width", [3, 5])
@pytest.mark.parametrize("grid", LIMITS)
def test_training_on_the_grid_reaches_about_the_loss_of_training_without(grid, width):
    free, found = (sum(loss_after_training(g, seed, width) for seed in range(2)) for g in (None, grid))
    assert found < 1.1 * free
