"""Runs DeepSparse in its own environment, as a worker (benchmarks/worker.py) that takes and leaves arrays in files.

{"make": NAME, "weight": PATH, "x": PATH, "y": PATH, "threads": N, "int8": BOOL}  -> {}, y is written
"""

import os
import tempfile
from pathlib import Path

os.environ["NM_DISABLE_ANALYTICS"] = "1"
os.environ["NM_BIND_THREADS_TO_CORES"] = "0"

import deepsparse
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from benchmarks import timing
from benchmarks.worker import serve


def model(weight, x, int8):
    """A graph x -> y as DeepSparse understands it: float32, or int8 with a constant scale of x and one of W."""
    constants, nodes = {"w": np.ascontiguousarray(weight.T)}, [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if int8:
        x_scale, w_scale = np.abs(x).max() / 127, np.abs(weight).max() / 127
        constants = {
            "w": np.ascontiguousarray(np.rint(weight / w_scale).astype(np.int8).T),
            "zero": np.array(0, np.int8),
            "x_scale": np.array(x_scale, np.float32),
            "x_zero": np.array(128, np.uint8),
            "scale": np.array(x_scale * w_scale, np.float32),
        }
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
            helper.make_node("MatMulInteger", ["xq", "w", "x_zero", "zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["floats", "scale"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(x), len(weight)])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def padded(matrix):
    return np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % 16)))


def make(command):
    # with an odd number of columns it gives wrong results: zeros are added
    weight, x = (padded(np.load(command[name])) for name in ("weight", "x"))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "layer.onnx")
        save(model(weight, x, command["int8"]), path)
        engine = deepsparse.Engine(model=path, batch_size=len(x), num_cores=command["threads"])

    given = [x]

    def call():
        return engine.run(given, val_inp=False)

    np.save(command["y"], call()[0])
    return timing.Call(call, timing.flush_of(command["threads"])), {}


if __name__ == "__main__":
    serve(make)
