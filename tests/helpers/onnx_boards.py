"""ONNX models of one operator or a few, for boards; and what ONNX's own reference computes for them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def node(kind, inputs, output, name="", **attributes):
    outputs = [output] if isinstance(output, str) else output
    return helper.make_node(kind, inputs, outputs, name=name, **attributes)


def model(nodes, shape, constants=None, output="y", opset=18, inputs=("x",)):
    """A model of the input x, of this shape, and these constants by name."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in np.atleast_1d(output).tolist()],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def reference(made, inputs):
    """The outputs (count, elements) for inputs (count, ...), one at a time."""
    evaluator = ReferenceEvaluator(made)
    name = made.graph.input[0].name
    return np.stack([np.asarray(evaluator.run(None, {name: each})[0]).reshape(-1) for each in inputs])


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
