"""The relative change of weights, against NumPy in double precision."""

import numpy as np
import pytest

from deepcompression.convert.tensors import compress_tensor
from deepcompression.pruning.criteria import CRITERIA, Prune
from deepcompression.recipe.rule import Rule
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.change import Magnitude, change_between, relative_change
from deepcompression.tensors.dtypes import narrow
from deepcompression.tensors.slices import SLICE, Weights
from deepcompression.tensors.tensor import DenseTensor

RULES = {
    "pruned": Rule(module="*", prune=Prune(density=0.3)),
    "shared": Rule(module="*", share=Share(bits=2)),
    "both": Rule(module="*", prune=Prune(density=0.3), share=Share(bits=2)),
}


def twin(before, after):
    before, after = before.astype(np.float64), after.astype(np.float64)
    change = np.linalg.norm(after - before) / np.linalg.norm(before)
    return change, np.count_nonzero(after) / np.count_nonzero(before)


@pytest.mark.parametrize("size", [1.0, 1e-25, 1e25])
@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16"])
@pytest.mark.parametrize("kind", RULES)
def test_the_change_is_that_of_all_elements(kind, dtype, size):
    values = np.random.Generator(np.random.PCG64(0)).standard_normal(700) * size
    values[::7] = 0
    tensor = DenseTensor(dtype, narrow(values.reshape(20, 35), dtype))
    before, values = Magnitude.of(Weights.of_tensor(tensor)), tensor.numpy().copy()
    rule, select = RULES[kind], None
    if rule.prune is not None:
        (select,) = CRITERIA["magnitude"].select([Weights.of_tensor(tensor)], 0.3, 0)
    made = compress_tensor(tensor, rule, select, 0, in_place=True)
    assert relative_change(before, tensor, made) == pytest.approx(twin(values, made.numpy()), rel=1e-4)
    assert change_between(values, made.numpy()) == pytest.approx(twin(values, made.numpy())[0], rel=1e-4)


def test_a_tensor_of_several_slices_counts_whole():
    values = np.ones(SLICE + 100, np.float16)
    values[-50:] = -1
    tensor = DenseTensor.from_numpy(values)
    made = compress_tensor(tensor, Rule(module="*", share=Share(bits=1)), None, 0)
    before = Magnitude.of(Weights.of_tensor(tensor))
    assert before.survivors == SLICE + 100
    assert relative_change(before, tensor, made) == (0, 1)


def test_a_weight_of_zeros_does_not_change():
    tensor = DenseTensor.from_numpy(np.zeros(8, np.float32))
    assert relative_change(Magnitude.of(Weights.of_tensor(tensor)), tensor, tensor) == (0, 1)
