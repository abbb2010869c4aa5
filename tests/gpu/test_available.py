"""Where kernels run, and the reasons where they do not."""

import importlib.util

import pytest
import torch

from deepcompression.gpu import available as module
from deepcompression.gpu.available import available


def test_the_interpreter_runs_kernels_on_the_cpu(monkeypatch):
    assert available(torch.device("cpu")) is None
    monkeypatch.delenv("TRITON_INTERPRET")
    assert "run on GPUs" in available(torch.device("cpu"))


def test_without_triton_the_reason_names_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for device in ("cpu", "cuda"):
        assert "pip install triton" in available(torch.device(device))


def test_other_devices_are_named():
    assert "mps" in available(torch.device("mps"))


@pytest.mark.parametrize(("capability", "reason"), [((7, 5), "8.0 or newer; found 7.5 (Old)"), ((8, 0), None)])
def test_a_gpu_must_be_new_enough(capability, reason, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Old")
    module._of_gpu.cache_clear()
    found = available(torch.device("cuda:3"))
    module._of_gpu.cache_clear()
    assert found == reason or reason in found
