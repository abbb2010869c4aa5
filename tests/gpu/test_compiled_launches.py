"""What a GPU would be given: kernels compiled for the arguments of real calls, which are launched on a recorder."""

import pytest
import torch
from nothing_waits import NothingWaits
from packed_matrices import matrix
from recorded_launches import MOST_PROGRAMS, recorded

from deepcompression.gpu import launch as launch_module
from deepcompression.gpu import product_kernels, products, rows
from deepcompression.nn import on_device
from deepcompression.packed import packing
from deepcompression.packed.convolution import ConvolutionSettings


def word(*shape, form="word"):
    """Packed weights and their header."""
    packed = packing.pack(matrix(*shape), form=form)
    return torch.from_numpy(packed), packing.header(packed)


# Triton takes an argument that is 1 for a constant, so that sizes of 1 are kernels of their own
SIZES = [(33, 40), (40, 1), (1, 40), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_products_of_every_size_compile_and_run_on_the_current_stream(size):
    packed, facts = word(*size, 1.0, 16)
    for vectors, kernels in ((1, ["product"]), (4, ["turn", "product"])):
        with recorded() as launches:
            products.linear(torch.zeros(vectors, size[1]), packed, facts, torch.zeros(size[0]))
        assert [(launch.kernel, launch.stream) for launch in launches] == [(kernel, 7) for kernel in kernels]


@pytest.mark.parametrize(("form", "kernel"), [("word", "word_rows"), ("tile", "tile_rows")])
@pytest.mark.parametrize("size", SIZES)
def test_rows_of_every_size_compile(size, form, kernel):
    packed, facts = word(*size, 1.0, 16, form=form)
    with recorded() as launches:
        rows.decode_rows(packed, facts, torch.zeros(2, dtype=torch.int64), torch.float16)
    assert [launch.kernel for launch in launches] == [kernel]


def test_many_vectors_take_no_more_programs_than_a_launch_has():
    packed, facts = word(3, 2, 0.0, 16)
    with recorded() as launches:
        products.linear(torch.zeros(16 * 65535 + 1, 2), packed, facts)
    assert all(found <= most for launch in launches for found, most in zip(launch.grid, MOST_PROGRAMS, strict=True))
    # every bundle of vectors is multiplied
    assert sum(launch.grid[1] for launch in launches if launch.kernel == "product") == 65536


def test_kernels_read_tensors_whose_numbers_lie_side_by_side():
    packed, facts = word(33, 40, 0.5, 16)
    x, bias = torch.zeros(80)[::2], torch.zeros(66)[::2]
    with recorded() as launches:
        products.linear(x, packed, facts, bias)
    tensors = [each for each in launches[0].arguments if isinstance(each, torch.Tensor)]
    assert [each.numel() for each in tensors] == [40, packed.numel(), 33, 33]
    assert all(each.is_contiguous() for each in tensors)


def test_nothing_in_a_call_waits_and_results_lie_in_memory_as_compilers_are_told(monkeypatch):
    monkeypatch.setattr(on_device, "why_torch", lambda device: None)
    packed, facts = word(33, 40, 1.0, 16)
    tiles, of_tiles = word(33, 40, 1.0, 16, form="tile")
    with recorded() as launches, NothingWaits():
        bias, found = torch.zeros(33), []
        # one vector, a bundle, and so many that rows are decoded
        for vectors in (1, 4, 40):
            x = torch.zeros(40, vectors, 1).permute(2, 1, 0)
            found.append(on_device.product_on(x, packed, facts, bias))
        for weight, header in ((packed, facts), (tiles, of_tiles)):
            found.append(on_device.rows_on(torch.arange(4)[::2], weight, header, torch.float16))
        x = torch.zeros(2, 9, 9, 5, dtype=torch.float16).permute(0, 3, 1, 2)
        on_device.convolution_on(x, tiles, of_tiles, bias, (33, 5, 2, 4), ConvolutionSettings.of(2))
    names = ["product", "turn", "product", "word_rows", "word_rows", "tile_rows", "tile_rows"]
    assert [launch.kernel for launch in launches] == names
    assert all(y.is_contiguous() for y in found)
    # kernels read numbers of rows side by side
    assert all(launch.arguments[1].is_contiguous() for launch in launches[4:])


def seen(launch):
    """A launch, with the dtypes and sizes of its tensors in their places."""
    values = [(a.dtype, a.numel()) if isinstance(a, torch.Tensor) else a for a in launch.arguments]
    return launch._replace(arguments=tuple(values))


@pytest.fixture
def by_triton(monkeypatch):
    """The launches that Triton itself prepares."""
    found, prepare = [], type(product_kernels.product).run

    def run(kernel, *arguments, **others):
        found.append(kernel.__name__)
        return prepare(kernel, *arguments, **others)

    monkeypatch.setattr(type(product_kernels.product), "run", run)
    return found


@pytest.mark.parametrize("vectors", [1, 4])
def test_later_calls_of_a_weight_are_started_alike_without_triton_s_own_preparations(vectors, by_triton):
    packed, facts = word(33, 48, 0.5, 16)
    bias = torch.zeros(33)
    with recorded() as launches:
        for _ in range(2):
            products.linear(torch.zeros(vectors, 48), packed, facts, bias)
    first, later = launches[: len(launches) // 2], launches[len(launches) // 2 :]
    assert [seen(launch) for launch in first] == [seen(launch) for launch in later]
    assert by_triton == [launch.kernel for launch in first]


@pytest.mark.parametrize("kind", ["dtype", "address", "bias", "Triton"])
def test_calls_of_another_kind_are_prepared_by_triton(kind, by_triton, monkeypatch):
    if kind == "Triton":
        monkeypatch.setattr(launch_module, "_has_handles", lambda: False)
    packed, facts = word(33, 64, 0.5, 16)
    bias = torch.zeros(33)
    products._plan.cache_clear()
    with recorded():
        products.linear(torch.zeros(1, 64), packed, facts, bias)
        if kind == "dtype":
            products.linear(torch.zeros(1, 64, dtype=torch.float16), packed, facts, bias)
        elif kind == "address":
            products.linear(torch.zeros(65)[1:], packed, facts, bias)
            products.linear(torch.zeros(65)[1:], packed, facts, bias)
            by_triton.pop()
        elif kind == "bias":
            products.linear(torch.zeros(1, 64), packed, facts)
        else:
            products.linear(torch.zeros(1, 64), packed, facts, bias)
    assert by_triton == ["product", "product"]


def test_numbers_that_differ_among_the_calls_of_a_weight_are_no_constants(by_triton):
    packed, facts = word(33, 48, 0.5, 16)
    with recorded() as launches:
        for vectors in (16, 9, 15):
            products.linear(torch.zeros(vectors, 48), packed, facts)
        out = torch.zeros(16, 48)
        for first, count in ((0, 16), (1, 1), (17, 16)):
            rows.decode_stored(packed, facts, first, out[:count])
    assert len(by_triton) < len(launches)
    assert {launch.arguments[9] for launch in launches if launch.kernel == "product"} == {16, 9, 15}
    assert [launch.arguments[7:9] for launch in launches if launch.kernel == "word_rows"] == [(0, 16), (1, 1), (17, 16)]
