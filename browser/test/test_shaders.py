"""Every kernel of the GPU, compiled by naga, on Mesa's lavapipe: also those with float16 and subgroups.

Node writes what a run does (dump_gpu.mjs): shaders, buffers, dispatches, and what its slow twin expects.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
# relative to the sum of the sizes of a product's terms: float16 rounds inputs, weights and outputs
TOLERANCE = {False: 1e-6, True: 3 * 2**-11}
SIZES_BYTES = 256


@pytest.fixture(scope="module")
def device() -> Iterator[wgpu.GPUDevice]:
    adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    device = adapter.request_device_sync(required_features=["shader-f16", "subgroup"])
    yield device
    device.destroy()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("gpu") / "cases.jsonl"
    subprocess.run(["node", HERE / "dump_gpu.mjs", path], check=True)
    return [json.loads(line) for line in path.read_text().splitlines()]


class Replay:
    """Runs on one device; a shader is compiled once."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self.device = device
        self._pipelines: dict[str, wgpu.GPUComputePipeline] = {}

    def run(self, run: dict[str, Any], x: bytes) -> NDArray[np.float32]:
        buffers = [self._buffer(memory["bytes"], base64.b64decode(memory["data"] or "")) for memory in run["memories"]]
        self.device.queue.write_buffer(buffers[run["input"]], 0, x)
        encoder = self.device.create_command_encoder()
        for dispatch in run["dispatches"]:
            pipeline = self._pipeline(dispatch["code"])
            sizes = np.zeros(SIZES_BYTES // 4, np.uint32)
            sizes[: len(dispatch["sizes"])] = dispatch["sizes"]
            bound = [buffers[number] for number in dispatch["bindings"]]
            bound.append(self.device.create_buffer_with_data(data=sizes, usage=wgpu.BufferUsage.UNIFORM))
            entries = [
                {"binding": i, "resource": {"buffer": buffer, "offset": 0, "size": buffer.size}}
                for i, buffer in enumerate(bound)
            ]
            part = encoder.begin_compute_pass()
            part.set_pipeline(pipeline)
            part.set_bind_group(
                0, self.device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)
            )
            part.dispatch_workgroups(*dispatch["grid"])
            part.end()
        self.device.queue.submit([encoder.finish()])
        y = np.frombuffer(self.device.queue.read_buffer(buffers[run["output"]]), np.float32)
        for buffer in buffers:
            buffer.destroy()
        return y

    def _buffer(self, size: int, data: bytes) -> wgpu.GPUBuffer:
        usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
        buffer = self.device.create_buffer(size=size, usage=usage)
        if data:
            self.device.queue.write_buffer(buffer, 0, data + bytes(-len(data) % 4))
        return buffer

    def _pipeline(self, code: str) -> wgpu.GPUComputePipeline:
        if code not in self._pipelines:
            # this naga knows the functions of subgroups, but not the line that asks for them
            module = self.device.create_shader_module(code=code.replace("enable subgroups;", ""))
            self._pipelines[code] = self.device.create_compute_pipeline(
                layout="auto", compute={"module": module, "entry_point": "main"}
            )
        return self._pipelines[code]


def numbers(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), np.float32)


def test_every_kernel_equals_its_slow_twin_on_naga_and_lavapipe(
    device: wgpu.GPUDevice, cases: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    replay = Replay(device)
    seen = set()
    for case in cases:
        expected, scale = numbers(case["expected"]), numbers(case["scale"])
        for run in case["runs"]:
            variant = f"f16={run['f16']}, subgroups={run['subgroups']}"
            with subtests.test(f"{case['name']}, {variant}"):
                y = replay.run(run, base64.b64decode(case["x"]))[: len(expected)]
                error = np.abs(y.astype(np.float64) - expected) - TOLERANCE[run["f16"]] * scale
                assert error.max() <= 1e-6
                seen |= {(dispatch["name"], run["f16"], run["subgroups"]) for dispatch in run["dispatches"]}
    for f16 in (False, True):
        assert {name for name, *variant in seen if variant == [f16, True]} >= {"packed_pixels", "dense_rows", "softmax"}
        everything = {path.stem for path in (HERE.parent / "shaders").iterdir() if "fn main" in path.read_text()}
        names = {name for name, *variant in seen if variant == [f16, False]}
        assert {name.removesuffix("_one").removesuffix("_four") for name in names} == everything
