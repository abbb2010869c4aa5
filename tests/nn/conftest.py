"""Tests of computing from packed weights pack whatever they can; `test_what_pays.py` has the real costs."""

import pytest

from deepcompression.nn import what_pays


class EverythingPays:
    """Costs by which everything is faster compressed, on no machine."""

    margin = 0.0

    def seconds(self, kind, work):
        return 1.0 if kind.endswith("dense") else 0.1

    def step(self, layer, way, work, inputs):
        return self.seconds(way, work)


@pytest.fixture(autouse=True, scope="module")
def everything_pays(request):
    if request.module.__name__.endswith("test_what_pays"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what_pays, "costs", lambda instruction_set, threads: EverythingPays())
        patch.setattr(what_pays, "has_kernel", lambda *facts: True)
        yield
