"""The runtime gives what torch gives, from the weights of a file."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

import deepcompression as dc
from deepcompression.runtime import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm,
    Conv1d,
    Conv2d,
    Conv3d,
    Flatten,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Sequence,
    Sigmoid,
    Softmax,
    Tanh,
    convolution,
)
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def sharing(shape, centroids=16, density=0.4, seed=1):
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(int(np.prod(shape))) < density)
    codebook = np.sort(rng.standard_normal(centroids)).astype("<f4")
    return CompressedTensor(shape, positions, codebook, rng.integers(0, centroids, len(positions)).astype(np.uint8))


def of_torch(module, x):
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy()


def close(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    bound = 2e-6 * max(1, np.abs(expected[np.isfinite(expected)]).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound, equal_nan=True)


@pytest.fixture(params=["shared", "dense"])
def with_weight(request, tmp_path):
    """Fills a torch module with a weight, shared or not, and writes its tensors to a file under the name `layer`."""

    def fill(module, bias=True):
        shape = tuple(module.weight.shape)
        weight = sharing(shape) if request.param == "shared" else DenseTensor.from_numpy(numbers(*shape))
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(np.array(weight.numpy())))
        tensors = {"layer.weight": weight}
        if module.bias is not None:
            tensors["layer.bias"] = DenseTensor.from_numpy(module.bias.detach().numpy())
        dc.save_tensors(tmp_path / "m.dcz", tensors)
        return tmp_path / "m.dcz"

    return fill


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given", [(1, 37), (5, 37), (0, 37), (2, 3, 37)])
def test_linear(with_weight, given, bias):
    module = nn.Linear(37, 19, bias)
    net = Sequence.load(with_weight(module), [Linear("layer")], threads=2)
    x = numbers(*given)
    close(net(x), of_torch(module, x))
    assert net.shape(given) == (*given[:-1], 19)


@pytest.mark.parametrize(
    ("own", "other", "channels", "extents", "options"),
    [
        (Conv1d, nn.Conv1d, (6, 9), (31,), {"kernel_size": 5, "stride": 2, "padding": 3, "dilation": 2, "groups": 3}),
        (Conv2d, nn.Conv2d, (3, 8), (13, 11), {"kernel_size": 3}),
        (Conv2d, nn.Conv2d, (3, 8), (13, 11), {"kernel_size": (5, 2), "stride": (1, 3), "padding": (4, 0)}),
        (Conv2d, nn.Conv2d, (8, 8), (9, 9), {"kernel_size": 3, "padding": 1, "groups": 8}),
        (Conv2d, nn.Conv2d, (8, 12), (10, 9), {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4}),
        (Conv2d, nn.Conv2d, (7, 5), (6, 6), {"kernel_size": 1, "stride": 2}),
        (Conv2d, nn.Conv2d, (1, 1), (1, 1), {"kernel_size": 1}),
        (Conv3d, nn.Conv3d, (2, 4), (5, 6, 7), {"kernel_size": 3, "padding": 1, "stride": (1, 2, 1)}),
    ],
)
@pytest.mark.parametrize("small", [False, True], ids=["whole", "blocks"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_convolutions(with_weight, monkeypatch, own, other, channels, extents, options, small, count):
    if small:
        # so that images, lines, groups and rows are all cut
        monkeypatch.setattr(convolution, "COLUMN_BYTES", 1500)
        monkeypatch.setattr(convolution, "TILE_BYTES", 200)
    module = other(*channels, **options)
    layer = own("layer", **{name: value for name, value in options.items() if name != "kernel_size"})
    net = Sequence.load(with_weight(module), [layer])
    x = numbers(count, channels[0], *extents)
    expected = of_torch(module, x)
    close(net(x), expected)
    assert net.shape(x.shape) == expected.shape
    turned = np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1)
    close(net(turned), expected)


POOLS = [
    (kind, (size, *rest), padding, ceil)
    for kind in ("max", "avg")
    for size, *rest in [(2,), (3, 2), (3, 1), ((2, 3), (3, 2)), (3, 5)]
    for padding in (0, 1)
    for ceil in (False, True)
]


@pytest.mark.parametrize(("kind", "sizes", "padding", "ceil"), POOLS)
@pytest.mark.parametrize("extents", [(7, 8), (3, 3), (12, 5)])
def test_pools(empty, kind, sizes, padding, ceil, extents):
    stride = sizes[1] if len(sizes) > 1 else None
    x = numbers(2, 3, *extents)
    own, other = {"max": (MaxPool2d, nn.MaxPool2d), "avg": (AvgPool2d, nn.AvgPool2d)}[kind]
    args = (sizes[0], stride, padding)
    close(Sequence.load(empty, [own(*args, ceil_mode=ceil)])(x), of_torch(other(*args, ceil_mode=ceil), x))
    if kind == "avg":
        net = Sequence.load(empty, [own(*args, ceil_mode=ceil, count_include_pad=False)])
        close(net(x), of_torch(other(*args, ceil_mode=ceil, count_include_pad=False), x))
    assert net_of(empty, own(*args))(x[:0]).shape[0] == 0


@pytest.fixture
def empty(tmp_path):
    dc.save_tensors(tmp_path / "empty.dcz", {})
    return tmp_path / "empty.dcz"


def net_of(path, *layers):
    return Sequence.load(path, layers)


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        (ReLU(), nn.ReLU()),
        (LeakyReLU(0.2), nn.LeakyReLU(0.2)),
        (Sigmoid(), nn.Sigmoid()),
        (Tanh(), nn.Tanh()),
        (Softmax(), nn.Softmax(-1)),
        (Softmax(1), nn.Softmax(1)),
        (Flatten(), nn.Flatten()),
        (Flatten(2), nn.Flatten(2)),
        (MaxPool2d(2), nn.MaxPool2d(2)),
        (AvgPool2d(2), nn.AvgPool2d(2)),
        (AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(1)),
        (AdaptiveAvgPool2d((3, 7)), nn.AdaptiveAvgPool2d((3, 7))),
    ],
    ids=lambda layer: str(layer),
)
@pytest.mark.parametrize("odd", [None, np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_layers_without_weights(empty, layer, module, odd):
    x = numbers(2, 3, 6, 5)
    if odd is not None:
        x[0, 1, 2, 3] = odd
    before = x.copy()
    close(net_of(empty, layer)(x), of_torch(module, x))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("module", "given"), [(nn.BatchNorm1d, (4, 5)), (nn.BatchNorm2d, (2, 5, 3, 4))])
def test_batch_norm(tmp_path, module, given, affine):
    module = module(5, affine=affine)
    with torch.no_grad():
        for tensor in (*module.parameters(), module.running_mean, module.running_var):
            tensor.uniform_(0.5, 2)
    state = {f"bn.{name}": DenseTensor.from_numpy(tensor.numpy()) for name, tensor in module.state_dict().items()}
    dc.save_tensors(tmp_path / "m.dcz", state)
    x = numbers(*given)
    close(net_of(tmp_path / "m.dcz", BatchNorm("bn"))(x), of_torch(module.eval(), x))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64"])
def test_weights_of_other_dtypes_are_widened(tmp_path, dtype):
    from cases import shared

    weight = shared(12 * 30, list(range(0, 360, 3)), 9, dtype, (12, 30))
    dc.save_tensors(tmp_path / "m.dcz", {"fc.weight": weight})
    x = numbers(4, 30)
    close(net_of(tmp_path / "m.dcz", Linear("fc"))(x), x @ weight.numpy().astype(np.float32).T)


def test_tied_weights_are_held_once(tmp_path):
    tensors = {"a.weight": sharing((64, 64)), "b.weight": dc.Tie("a.weight")}
    dc.save_tensors(tmp_path / "m.dcz", tensors)
    once = Sequence.load(tmp_path / "m.dcz", [Linear("a")], strict=False)
    twice = net_of(tmp_path / "m.dcz", Linear("a"), ReLU(), Linear("b"))
    assert twice.held_bytes == once.held_bytes
    dense = tensors["a.weight"].numpy()
    x = numbers(2, 64)
    close(twice(x), np.maximum(x @ dense.T, 0) @ dense.T)


def test_int8_activations_stay_near_and_do_not_depend_on_threads(tmp_path):
    weight = sharing((200, 300))
    dc.save_tensors(tmp_path / "m.dcz", {"fc.weight": weight})
    x = numbers(3, 300)
    expected = x @ weight.numpy().T
    found = [
        Sequence.load(tmp_path / "m.dcz", [Linear("fc")], activations="int8", threads=threads)(x) for threads in (1, 3)
    ]
    assert np.abs(found[0] - expected).max() < 0.03 * np.abs(expected).max()
    np.testing.assert_array_equal(*found)


def test_explains_itself_and_can_be_copied(tmp_path, capsys):
    tensors = {"conv.weight": sharing((8, 2, 3, 3)), "fc.weight": DenseTensor.from_numpy(numbers(5, 128))}
    dc.save_tensors(tmp_path / "m.dcz", tensors)
    net = net_of(tmp_path / "m.dcz", Conv2d("conv"), ReLU(), Flatten(), Linear("fc"))
    net.explain()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("Conv2d conv  8x2x3x3  tile, BLAS")
    assert lines[4].startswith("Linear fc    5x128    dense, BLAS")
    assert [fact.dense_bytes for fact in net.facts()] == [576, 0, 0, 2560]
    assert net.held_bytes == sum(fact.held_bytes for fact in net.facts()) < 576 + 2560
    x = numbers(2, 2, 6, 6)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(x), net(x))
        assert repr(twin) == repr(net)


def test_dense_weights_are_never_made(tmp_path):
    tensors = {"fc.weight": sharing((1500, 2000), density=0.05), "conv.weight": sharing((900, 300, 3, 3), density=0.05)}
    dc.save_tensors(tmp_path / "m.dcz", tensors)
    tracemalloc.start()
    try:
        nets = [Sequence.load(tmp_path / "m.dcz", [layer], strict=False) for layer in (Linear("fc"), Conv2d("conv"))]
        nets[0](numbers(1, 2000))
        nets[1](numbers(1, 300, 5, 5))
        assert tracemalloc.get_traced_memory()[1] < 4 * 1500 * 2000 / 2
    finally:
        tracemalloc.stop()
    assert all(net.held_bytes < net.facts()[0].dense_bytes / 8 for net in nets)
