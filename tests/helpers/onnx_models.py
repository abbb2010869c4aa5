"""ONNX models of every kind for the tests, and how they are run."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from deepcompression.checkpoint import open_checkpoint, write_checkpoint

OPSETS = [helper.make_opsetid("", 17)]
FLOAT, FLOAT16, BFLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16


def weights(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def raw(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def fields(name, array, data_type=FLOAT):
    """The same in float_data, int32_data, ..."""
    return helper.make_tensor(name, data_type, array.shape, array.reshape(-1).tolist())


def constant(name, tensor):
    return helper.make_node("Constant", [], [name], value=tensor)


def value(name, shape=(1, 8), data_type=FLOAT):
    return helper.make_tensor_value_info(name, data_type, shape)


def model_of(nodes, initializers=(), inputs=(), sparse=(), **more):
    graph = helper.make_graph(
        nodes, "g", [value("x"), *inputs], [value("y")], list(initializers), sparse_initializer=list(sparse)
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8, **more)


def chain():
    """Initializers in every field, one used twice and one that is an input too, a Constant node, small ones."""
    half = weights((8, 8), 3, np.float16)
    return model_of(
        [
            helper.make_node("MatMul", ["x", "w1"], ["a"]),
            helper.make_node("MatMul", ["a", "w1"], ["b"]),
            helper.make_node("MatMul", ["b", "w2"], ["c"]),
            constant("w3", raw("anything", weights((8, 8), 2))),
            helper.make_node("MatMul", ["c", "w3"], ["d"]),
            helper.make_node("Cast", ["half"], ["wide"], to=FLOAT),
            helper.make_node("MatMul", ["d", "wide"], ["e"]),
            helper.make_node("Cast", ["double"], ["narrow"], to=FLOAT),
            helper.make_node("MatMul", ["e", "narrow"], ["f"]),
            helper.make_node("Gather", ["f", "order"], ["g"], axis=1),
            helper.make_node("Reshape", ["g", "two"], ["h"]),
            constant("scale", raw("", np.float32(0.5))),
            helper.make_node("Mul", ["h", "scale"], ["i"]),
            helper.make_node("ReduceSum", ["i", "axes"], ["j"], keepdims=1),
            helper.make_node("MatMul", ["j", "last"], ["y"]),
        ],
        [
            raw("w1", weights((8, 8), 0)),
            fields("w2", weights((8, 8), 1)),
            fields("half", half, FLOAT16),
            fields("double", weights((8, 8), 4, np.float64), TensorProto.DOUBLE),
            fields("order", np.arange(64) % 8, TensorProto.INT64),
            raw("two", np.array([8, 8])),
            raw("axes", np.array([0])),
            raw("last", weights((8, 8), 5)),
        ],
        [value("w1", (8, 8))],
    )


def branches():
    """An If whose branches use the same names, one of them that of a tensor outside."""

    def branch(seed):
        body = [
            constant("inner", raw("", weights((8, 8), seed))),
            helper.make_node("MatMul", ["x", "w"], [f"p{seed}"]),
            helper.make_node("MatMul", [f"p{seed}", "inner"], [f"q{seed}"]),
        ]
        return helper.make_graph(body, f"b{seed}", [], [value(f"q{seed}")], [raw("w", weights((8, 8), seed + 50))])

    return model_of(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Greater", ["sum", "zero"], ["up"]),
            helper.make_node("If", ["up"], ["r"], name="choose", then_branch=branch(1), else_branch=branch(2)),
            helper.make_node("MatMul", ["r", "choose.then_branch/w"], ["y"]),
        ],
        [raw("zero", np.float32(0)), raw("choose.then_branch/w", weights((8, 8), 9))],
    )


def large():
    """Tensors that are large, and tensors that stay in the graph."""
    values = raw("sparse", weights((40,), 7))
    positions = raw("positions", np.arange(0, 80, 2, dtype="<i8"))
    sparse = helper.make_sparse_tensor(values, positions, [10, 8])
    return model_of(
        [
            helper.make_node("MatMul", ["x", "wide"], ["a"]),
            helper.make_node("MatMul", ["a", "long"], ["b"]),
            helper.make_node("Constant", [], ["s"], sparse_value=sparse),
            helper.make_node("ReduceSum", ["s"], ["t"], keepdims=0),
            helper.make_node("Add", ["b", "t"], ["c"]),
            constant("large constant", fields("", weights((8, 300), 5))),
            helper.make_node("MatMul", ["c", "large constant"], ["d"]),
            helper.make_node("MatMul", ["d", "back"], ["y"]),
        ],
        [
            raw("wide", weights((8, 1000), 1)),
            fields("long", weights((1000, 8), 2)),
            raw("back", weights((300, 8), 3)),
            raw("unused", np.arange(3000, dtype="<i8")),
        ],
    )


def function():
    """A function of the model's own with a Constant in it."""
    body = [
        constant("w", raw("", weights((8, 8), 1))),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
    ]
    double = helper.make_function("own", "Twice", ["a"], ["b"], body, OPSETS)
    nodes = [
        helper.make_node("Twice", ["x"], ["z"], domain="own"),
        constant("w", raw("", weights((8, 8), 2))),
        helper.make_node("MatMul", ["z", "w"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")])
    opsets = [*OPSETS, helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[double])


def loop():
    """A Loop whose body has its own weights."""
    body = helper.make_graph(
        [helper.make_node("MatMul", ["before", "w"], ["after"]), helper.make_node("Identity", ["go"], ["goes"])],
        "body",
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL), value("before")],
        [value("goes", (), TensorProto.BOOL), value("after")],
        [raw("w", weights((8, 8), 4) / 4)],
    )
    return model_of(
        [helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)], [raw("times", np.array(3, np.int64))]
    )


def narrow(data_type, early=False):
    """Weights and biases of a dtype that is too narrow to compute in, behind Cast, Identity and Transpose.

    early  the Cast nodes come before all others, not each before its reader
    """
    shapes = {"w1": (8, 48), "b1": (48,), "w2": (40, 48), "w3": (40, 40), "b3": (40,), "w4": (8, 10, 2)}
    shapes |= {"w5": (1, 48, 8), "r5": (1, 48, 16)}
    tensors = [
        fields(name, weights(shape, seed) / np.sqrt(shape[-1]), data_type)
        for seed, (name, shape) in enumerate(shapes.items())
    ]
    casts = {name: helper.make_node("Cast", [name], [f"{name}.wide"], to=FLOAT) for name in shapes}
    casts["w2"] = [
        helper.make_node("Identity", ["w2"], ["w2.same"]),
        helper.make_node("Transpose", ["w2.same"], ["w2.turned"], perm=[1, 0]),
        helper.make_node("Cast", ["w2.turned"], ["w2.wide"], to=FLOAT),
    ]
    nodes = [
        *("w1", "b1"),
        helper.make_node("MatMul", ["x", "w1.wide"], ["a1"]),
        helper.make_node("Add", ["b1.wide", "a1"], ["a2"]),
        helper.make_node("Relu", ["a2"], ["a3"]),
        "w2",
        helper.make_node("MatMul", ["a3", "w2.wide"], ["a4"]),
        helper.make_node("Tanh", ["a4"], ["a5"]),
        *("w3", "b3"),
        helper.make_node("Gemm", ["a5", "w3.wide", "b3.wide"], ["a6"], transB=1),
        helper.make_node("Reshape", ["a6", "places"], ["a7"]),
        "w4",
        helper.make_node("Conv", ["a7", "w4.wide"], ["a8"]),
        helper.make_node("Transpose", ["a8"], ["a9"], perm=[2, 0, 1]),
        *("w5", "r5"),
        helper.make_node("GRU", ["a9", "w5.wide", "r5.wide"], ["", "a10"], hidden_size=16),
        helper.make_node("Slice", ["a10", "starts", "ends", "last"], ["a11"]),
        helper.make_node("Squeeze", ["a11", "first"], ["y"]),
    ]
    made = [casts.get(each, each) if isinstance(each, str) else each for each in nodes]
    flat = [node for each in made for node in (each if isinstance(each, list) else [each])]
    if early:
        flat.sort(key=lambda node: node.op_type not in ("Cast", "Identity") and node.input[0] != "w2.same")
    numbers = {"places": [1, 10, 4], "starts": [0], "ends": [8], "last": [2], "first": [0]}
    return model_of(flat, [*tensors, *(raw(name, np.array(each)) for name, each in numbers.items())])


def narrow_f16():
    return narrow(FLOAT16)


def narrow_bf16():
    return narrow(BFLOAT16)


MODELS = {made.__name__: made for made in (chain, branches, large, function, loop, narrow_f16, narrow_bf16)}


def run(model, count=4):
    """Outputs for some inputs, as bytes; `model` is a path."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": weights((1, 8), 100 + seed)})[0].tobytes() for seed in range(count)]


def save(model, path):
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def back(path, change=lambda name, tensor: tensor):
    """The model written from its own tensors and graph, each as it is read."""
    out = path.with_name("back.onnx")
    with open_checkpoint(path) as source:
        write_checkpoint(out, source.entries, lambda name: change(name, source.read(name)), {}, source.graph)
    return out
