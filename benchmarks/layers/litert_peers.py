"""LiteRT's ways to compute y = x W^T, which are those of XNNPACK: float32, int8 and int4. A table as in peers.py."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.layers.peers import FP32, INT4, INT8, Array, Layer, Made, Peer

# A scale for each row of W; x is quantized in each call.
BITS = {8: "INT8", 4: "INT4"}


def _model(layer: Layer, bits: int | None) -> tuple[bytes, int]:
    """A fully connected layer x -> y as a LiteRT model, and the bytes of its weights."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], kind: str = "FLOAT32", buffer: int = 0) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, getattr(schema.TensorType, kind), buffer
        return made

    held = [layer.weight]
    weight = tensor("w", [layer.rows, layer.columns], BITS[bits] if bits else "FLOAT32", 1)
    if bits:
        most = 2 ** (bits - 1) - 1
        scales = np.maximum(np.abs(layer.weight).max(1), 1e-30) / np.float32(most)
        levels = np.rint(layer.weight / scales[:, None]).astype(np.int8).reshape(-1)
        if bits == 4:
            levels = np.append(levels, np.zeros(len(levels) % 2, np.int8))
            levels = levels[::2] & 15 | levels[1::2] << 4
        weight.quantization = schema.QuantizationParametersT()
        weight.quantization.scale, weight.quantization.zeroPoint = scales, np.zeros(layer.rows, np.int64)
        held = [levels, scales]
    data = schema.BufferT()
    data.data = held[0].reshape(-1).view(np.uint8)

    options = schema.FullyConnectedOptionsT()
    options.asymmetricQuantizeInputs = True
    layer_of = schema.OperatorT()
    layer_of.inputs, layer_of.outputs = [0, 1, -1], [2]
    layer_of.builtinOptionsType, layer_of.builtinOptions = schema.BuiltinOptions.FullyConnectedOptions, options
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", [1, layer.columns]), weight, tensor("y", [1, layer.rows])]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [layer_of]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 12
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), data]
    builder = flatbuffers.Builder(data.data.nbytes + (1 << 20))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), sum(each.nbytes for each in held)


def litert(layer: Layer, x: Array, threads: int, bits: int | None = None) -> Made:
    from ai_edge_litert.interpreter import Interpreter

    model, held = layer.keep(partial(_model, layer, bits), "litert", bits)
    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.resize_tensor_input(0, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    y = interpreter.get_output_details()[0]["index"]

    # y is copied once, behind the call: LiteRT's own memory is only lent
    def run() -> Array:
        interpreter.invoke()
        found: Array = interpreter.get_tensor(y)
        return found

    return run, held


PEERS = {
    "LiteRT fp32 (XNNPACK)": Peer(FP32, litert),
    "LiteRT int8 (XNNPACK)": Peer(INT8, partial(litert, bits=8)),
    "LiteRT int4 (XNNPACK)": Peer(INT4, partial(litert, bits=4)),
}
