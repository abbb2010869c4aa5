"""Other runtimes in Chromium with one line changed: the outputs are those for files that `dcz decompress` writes."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Complaints
from playwright.sync_api import Page

pytestmark = pytest.mark.long

PACKAGES = "/test/peers/node_modules/"
INPUTS = {"lenet-5": ("x", [2, 1, 28, 28]), "ddddocr": ("input1", [1, 1, 64, 160])}

# the outputs for the dense model, and for the one out of the .dcz file
RUN_ONNX = """async ([packages, name, input, shape]) => {
    const {open} = await import("/dist/index.js");
    const ort = await import(packages + "onnxruntime-web/dist/ort.wasm.bundle.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = location.origin + packages + "onnxruntime-web/dist/";
    const count = shape.reduce((product, each) => product * each);
    const values = Float32Array.from({length: count}, (_, at) => ((at * 2654435761) % 1000) / 1000);
    const run = async (model) => {
        const session = await ort.InferenceSession.create(model);
        const outputs = await session.run({[input]: new ort.Tensor("float32", values, shape)});
        const found = Array.from(outputs[session.outputNames[0]].data);
        await session.release();
        return found;
    };
    const dense = await run(`/models/${name}.onnx`);
    return [dense, await run(await (await open(`/models/${name}.dcz`)).toOnnx())];
}"""

# the vectors of two sentences, from the dense model and by dczFetch, and the addresses that were asked for
RUN_TRANSFORMERS = """async ([packages]) => {
    const {dczFetch} = await import("/dist/index.js");
    const {env, pipeline} = await import(packages + "@huggingface/transformers/dist/transformers.min.js");
    const ort = packages + "@huggingface/transformers/node_modules/onnxruntime-web/dist/";
    Object.assign(env.backends.onnx.wasm, {numThreads: 1, wasmPaths: location.origin + ort});
    Object.assign(env, {allowLocalModels: false, useBrowserCache: false, useWasmCache: false});
    Object.assign(env, {remoteHost: location.origin, remotePathTemplate: "models/{model}/"});
    const run = async () => {
        const extract = await pipeline("feature-extraction", "minilm", {dtype: "fp32", device: "wasm"});
        const found = await extract(["A small model.", "Nobody waits for it."], {pooling: "mean", normalize: true});
        await extract.dispose();
        return Array.from(found.data);
    };
    const dense = await run();
    const before = performance.getEntriesByType("resource").length;
    env.fetch = dczFetch((url) => (url.endsWith("/model.onnx") ? url.replace(/onnx$/, "dcz") : undefined));
    const found = await run();
    return [dense, found, performance.getEntriesByType("resource").slice(before).map((each) => each.name)];
}"""

# a layer of LeNet-5 by tfjs, from tensors of the file and from those of the same file as safetensors
RUN_TFJS = """async ([packages]) => {
    const {open} = await import("/dist/index.js");
    for (const name of ["core/dist/tf-core", "backend-cpu/dist/tf-backend-cpu", "backend-wasm/dist/tf-backend-wasm"]) {
        const script = document.createElement("script");
        script.src = `${packages}@tensorflow/tfjs-${name}.min.js`;
        await new Promise((resolve, reject) => {
            Object.assign(script, {onload: resolve, onerror: reject});
            document.head.append(script);
        });
    }
    tf.wasm.setWasmPaths(packages + "@tensorflow/tfjs-backend-wasm/dist/");
    await tf.setBackend("wasm");
    const x = tf.tensor(Float32Array.from({length: 800}, (_, at) => (at % 7) / 7), [1, 800]);
    const run = (data, shape) => Array.from(tf.matMul(x, tf.tensor(data, shape), false, true).dataSync());
    const name = "fc1.weight";
    const bytes = await (await fetch("/data/converted/lenet-5.safetensors")).arrayBuffer();
    const start = 8 + Number(new DataView(bytes).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, start - 8)));
    const [from, to] = header[name].data_offsets;
    const dense = run(new Float32Array(bytes.slice(start + from, start + to)), header[name].shape);
    const t = await (await open("/networks/lenet-5.dcz")).tensor(name);
    return [dense, run(t.data, t.shape), tf.getBackend()];
}"""


def differ(values: list[float]) -> bool:
    return len(set(values)) >= 10


@pytest.mark.parametrize("name", INPUTS)
def test_onnx_runtime_web_takes_the_model(page: Page, complaints: Complaints, name: str) -> None:
    # it warns of ddddocr itself: the shape that the model states for its output is wrong
    complaints.allow("Expected shape from model")
    dense, found = page.evaluate(RUN_ONNX, [PACKAGES, name, *INPUTS[name]])
    assert differ(dense)
    assert found == dense


def test_transformers_js_loads_by_dcz_fetch(page: Page, complaints: Complaints) -> None:
    complaints.allow("Some nodes were not assigned to the preferred execution providers|Rerunning with verbose output")
    dense, found, asked = page.evaluate(RUN_TRANSFORMERS, [PACKAGES])
    assert len(found) == 2 * 384
    assert differ(dense)
    assert found == dense
    assert any(each.endswith("/model.dcz") for each in asked)
    assert not any(each.endswith("/model.onnx") for each in asked)


def test_tfjs_takes_tensors(page: Page) -> None:
    result: list[Any] = page.evaluate(RUN_TFJS, [PACKAGES])
    dense, found, backend = result
    assert backend == "wasm"
    assert differ(dense)
    assert found == dense
