"""Products in plain torch operations, as other devices compute them, held against the core's from the same bytes."""

import math

import numpy as np
import pytest
import torch
from packed_matrices import matrix

from deepcompression.packed import multiply, packing, torch_reference
from deepcompression.packed.torch_reference import plain_operations
from deepcompression.tensors.tensor import CompressedTensor

SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (64, 126), (17, 1000)]


@pytest.mark.parametrize("chunk", [1, 300, 1 << 20])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", [1, 16, 32, 33, 256])
def test_it_computes_what_the_core_computes(shape, centroids, activations, chunk, monkeypatch):
    monkeypatch.setattr(torch_reference, "_CHUNK_PRODUCTS", chunk)
    tensor = matrix(*shape, 0.3, centroids)
    forms = [("float32", "window"), ("int8", "window"), ("float32", "panel"), ("int8", "quad"), ("float32", "factored")]
    for packed in (packing.pack(tensor, pack_for, form=form).tobytes() for pack_for, form in forms):
        array = np.frombuffer(bytearray(packed), np.uint8)
        x = np.random.default_rng(1).standard_normal((3, shape[1])).astype(np.float32)
        bias = np.random.default_rng(2).standard_normal(shape[0]).astype(np.float32)
        expected = multiply.matmul(array, x, bias=bias, activations=activations)
        found = torch_reference.multiply(
            torch.from_numpy(array), packing.header(array), torch.from_numpy(x), torch.from_numpy(bias), activations
        )
        assert found.shape == expected.shape
        assert np.abs(found.numpy() - expected).max(initial=0) <= 1e-6 * np.abs(expected).max(initial=0)


@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (16, 3, 5, 5), (101, 37)])
@pytest.mark.parametrize("centroids", [1, 16, 32, 256])
def test_rows_are_decoded_as_the_core_decodes_them(shape, centroids, chunk, monkeypatch):
    monkeypatch.setattr(torch_reference, "_CHUNK_PRODUCTS", chunk)
    flat = matrix(shape[0], math.prod(shape[1:]), 0.3, centroids)
    tensor = CompressedTensor(shape, flat.positions, flat.codebook, flat.codes)
    packed = packing.pack(tensor, form="tile")
    expected = multiply.rows(packed, 0, shape[0])
    numbers = torch.tensor([shape[0] - 1, 0, *range(shape[0])])
    found = torch_reference.decode_rows(torch.from_numpy(packed), packing.header(packed), numbers)
    assert np.array_equal(found.numpy(), expected[numbers.numpy()])
    nothing = torch_reference.decode_rows(torch.from_numpy(packed), packing.header(packed), numbers[:0])
    assert nothing.shape == (0, expected.shape[1])


@pytest.mark.parametrize("scale", [1e-30, 1e-38, 0.0, 1e30])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_vectors_of_any_magnitude_are_rounded_as_the_core_rounds_them(scale, activations):
    packed = packing.pack(matrix(37, 131, 0.3, 16), activations)
    x = np.random.default_rng(1).standard_normal((4, 131)).astype(np.float32)
    x[1::2] *= np.float32(scale)
    expected = multiply.matmul(packed, x, activations=activations)
    header = packing.header(packed)
    found = torch_reference.multiply(torch.from_numpy(packed), header, torch.from_numpy(x), None, activations).numpy()
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def test_the_dense_matrix_is_never_made(monkeypatch):
    """Whatever is allocated at once is bounded by the chunk and the vectors."""
    rows, columns = 512, 2048
    tensor = matrix(rows, columns, 0.1, 16)
    packed = torch.from_numpy(packing.pack(tensor))
    monkeypatch.setattr(torch_reference, "_CHUNK_PRODUCTS", 1 << 12)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.untyped_storage().nbytes())
            return out

    with Watch():
        torch_reference.multiply(packed, packing.header(packed.numpy()), torch.randn(1, columns), None, "float32")
    assert largest <= max(len(packed), 1 << 16) < rows * columns * 4 / 8


def test_it_is_chosen_on_cpu_only_within_the_context():
    assert not torch_reference.forced()
    with plain_operations():
        assert torch_reference.forced()
        with plain_operations():
            assert torch_reference.forced()
        assert torch_reference.forced()
    assert not torch_reference.forced()


def test_forms_that_it_does_not_know_are_refused():
    packed = packing.pack(matrix(5, 7, 0.3, 16))
    header = packing.header(packed)._replace(form="unknown")
    with pytest.raises(ValueError, match="unknown"):
        torch_reference.multiply(torch.from_numpy(packed), header, torch.zeros(1, 7), None, "float32")
    with pytest.raises(ValueError, match="window"):
        torch_reference.decode_rows(torch.from_numpy(packed), packing.header(packed), torch.zeros(1, dtype=torch.int64))
