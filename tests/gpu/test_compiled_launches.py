"""What a GPU would be given: kernels compiled for the arguments of real calls, which are launched on a recorder."""

import pytest
import torch
from packed_matrices import matrix
from recorded_launches import MOST_PROGRAMS, recorded

from deepcompression.gpu import products, rows
from deepcompression.packed import packing


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
