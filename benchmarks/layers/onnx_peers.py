"""ONNX Runtime's ways to compute y = x W^T: float32, int8, 8 and 4 bits in blocks. A table as in peers.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.layers.peers import FP32, INT4, INT8, Array, Layer, Made, Peer

MICROSOFT = "com.microsoft"
# the largest |x| that a constant scale is chosen for: x is normal
LARGEST = 5.5


def session(
    nodes: list[Any], constants: Mapping[str, Array], rows: int | None, threads: int, x: list[Any] | None = None
) -> Any:
    """A session of a graph x -> y, float32, for any batch; `x` are the names or sizes of more than two dimensions."""
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x or ["batch", None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", rows] if x is None else None)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def quickest(made: Any, x: Array, rows: int) -> Callable[[], Array]:
    """A call of the session by whichever is quicker: bound input and output, or plain."""
    out = np.empty((len(x), rows), np.float32)
    binding = made.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    kept = onnxruntime.OrtValue.ortvalue_from_numpy(out)
    binding.bind_ortvalue_output("y", kept)
    inner, inner_binding, names, given = made._sess, binding._iobinding, ["y"], {"x": x}

    def bound() -> Any:
        inner.run_with_iobinding(inner_binding, None)
        return kept

    def plain() -> Any:
        return inner.run(names, given, None)[0]

    seconds: dict[Callable[[], Any], list[float]] = {bound: [], plain: []}
    for _ in range(5):
        for call, found in seconds.items():
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return min(seconds, key=lambda call: sorted(seconds[call])[2])


def fp32(layer: Layer, x: Array, threads: int, gemm: bool = False) -> Made:
    operator = ("Gemm", {"transB": 1}, layer.weight) if gemm else ("MatMul", {}, layer.weight.T)

    def make() -> Any:
        name, attributes, weight = operator
        return session([helper.make_node(name, ["x", "w"], ["y"], **attributes)], {"w": weight}, layer.rows, threads)

    return quickest(layer.keep(make, "fp32", gemm, threads), x, layer.rows), layer.weight.nbytes


def dynamic_int8(layer: Layer, x: Array, threads: int) -> Made:
    """The operators that quantize_dynamic makes and the optimizer fuses; a scale for each row of W."""
    levels, scales = layer.int8

    def make() -> Any:
        node = helper.make_node("DynamicQuantizeMatMul", ["x", "w", "scales", "zero"], ["y"], domain=MICROSOFT)
        constants = {"w": levels.T, "scales": scales, "zero": np.zeros(layer.rows, np.int8)}
        return session([node], constants, layer.rows, threads)

    return quickest(layer.keep(make, "dynamic", threads), x, layer.rows), levels.nbytes + scales.nbytes


def static_int8(layer: Layer, x: Array, threads: int) -> Made:
    """QuantizeLinear and DequantizeLinear around MatMul, which the optimizer fuses; the scale of x is a constant."""
    levels, scales = layer.int8

    def make() -> Any:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "middle"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "scale", "middle"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "scales", "zero"], ["wd"], axis=1),
            helper.make_node("MatMul", ["xd", "wd"], ["y"]),
        ]
        constants = {"w": levels.T, "scales": scales, "zero": np.zeros(layer.rows, np.int8)}
        constants |= {"scale": np.array(LARGEST / 127, np.float32), "middle": np.array(128, np.uint8)}
        return session(nodes, constants, layer.rows, threads)

    return quickest(layer.keep(make, "static", threads), x, layer.rows), levels.nbytes + scales.nbytes


def blockwise(layer: Layer, x: Array, threads: int, bits: int = 4, block: int = 32, accuracy: int = 4) -> Made:
    """MatMulNBits; accuracy level 4 quantizes x to int8 in blocks, 0 computes in float32."""

    def make() -> tuple[Any, int]:
        levels, scales = layer.blocks(block, bits)
        packed = levels if bits == 8 else levels[:, :, ::2] | levels[:, :, 1::2] << 4
        attributes = {"K": layer.columns, "N": layer.rows, "bits": bits, "block_size": block}
        names = ["x", "w", "scales"]
        node = helper.make_node("MatMulNBits", names, ["y"], domain=MICROSOFT, accuracy_level=accuracy, **attributes)
        made = session([node], {"w": packed, "scales": scales.reshape(-1)}, layer.rows, threads)
        return made, packed.nbytes + scales.nbytes

    made, held = layer.keep(make, "blockwise", bits, block, accuracy, threads)
    return quickest(made, x, layer.rows), held


PEERS = {
    "ONNX Runtime fp32": Peer(FP32, fp32),
    "ONNX Runtime fp32, Gemm": Peer(FP32, partial(fp32, gemm=True)),
    "ONNX Runtime int8, dynamic": Peer(INT8, dynamic_int8),
    "ONNX Runtime int8, static": Peer(INT8, static_int8),
    "ONNX Runtime 8 bits, block 128": Peer(INT8, partial(blockwise, bits=8, block=128)),
    **{
        f"ONNX Runtime int4, block {block}, accuracy {accuracy}": Peer(
            INT4, partial(blockwise, block=block, accuracy=accuracy)
        )
        for block in (32, 64, 128)
        for accuracy in (0, 4)
    },
}
