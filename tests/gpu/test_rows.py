"""Rows that Triton's kernels decode, in its interpreter: those of the dense weights, bit for bit."""

import numpy as np
import pytest
import torch
from packed_matrices import matrix

from deepcompression.gpu import rows
from deepcompression.packed import packing

SHAPES = [(1, 1, 1.0, 1), (5, 7, 0.4, 16), (37, 30, 0.3, 32), (4, 0, 0.5, 16), (3, 500, 0.2, 256), (6, 1500, 0.02, 16)]


@pytest.mark.parametrize("form", ["word", "tile"])
@pytest.mark.parametrize(("count", "columns", "density", "centroids"), SHAPES)
def test_rows_are_those_of_the_dense_weights(count, columns, density, centroids, form):
    tensor = matrix(count, columns, density, centroids)
    packed = packing.pack(tensor, form=form)
    dense, facts = torch.from_numpy(np.array(tensor.numpy())), packing.header(packed)
    numbers = torch.tensor([count - 1, 0, count // 2, 0])
    for dtype in (torch.float32, torch.float16):
        found = rows.decode_rows(torch.from_numpy(packed), facts, numbers, dtype)
        assert found.dtype == dtype
        assert torch.equal(found, dense[numbers].to(dtype))
    assert rows.decode_rows(torch.from_numpy(packed), facts, numbers[:0], torch.float32).shape == (0, columns)


@pytest.mark.parametrize("form", ["word", "tile"])
def test_rows_that_there_are_not_become_nan(form):
    tensor = matrix(5, 7, 0.4, 16)
    packed = packing.pack(tensor, form=form)
    numbers = torch.tensor([-1, 4, 5, 1 << 40])
    found = rows.decode_rows(torch.from_numpy(packed), packing.header(packed), numbers, torch.float32)
    assert torch.equal(found[1], torch.from_numpy(np.array(tensor.numpy()))[4])
    assert found[[0, 2, 3]].isnan().all()


@pytest.mark.parametrize("count", [21, 65535, 65536])
def test_stored_rows_come_in_the_form_s_order(count):
    """16 bits number up to 65,535 rows, 32 bits more."""
    tensor = matrix(count, 30, 0.3, 16)
    packed = packing.pack(tensor, form="word")
    facts, dense = packing.header(packed), torch.from_numpy(np.array(tensor.numpy()))
    order = rows.order_of(torch.from_numpy(packed), facts)
    assert sorted(order.tolist()) == list(range(count))
    found = rows.decode_stored(torch.from_numpy(packed), facts, 4, torch.empty(13, 30))
    assert torch.equal(found, dense[order[4:17]])


def test_other_forms_are_refused():
    packed = packing.pack(matrix(5, 7, 0.3, 16), form="panel")
    with pytest.raises(ValueError, match="panel"):
        rows.decode_rows(torch.from_numpy(packed), packing.header(packed), torch.zeros(1).long(), torch.float32)
