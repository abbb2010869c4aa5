"""Energy from the driver of a made-up GPU."""

import time

import pytest

from deepcompression.bench.energy import UnmeasurableError
from deepcompression.bench.nvml import gpu_meter, nvml

UUID = "GPU-0123"


class Driver:
    """As much of pynvml as a meter uses. Functions that are named in `broken` fail."""

    class NVMLError(Exception):
        pass

    def __init__(self, *broken):
        self.broken, self.millijoules, self.watts = broken, 5_000, 100.0

    def __getattr__(self, name):
        if name not in self.answers():
            raise AttributeError(name)

        def function(*arguments):
            if name in self.broken:
                raise self.NVMLError("Not Supported")
            if arguments and arguments[0] not in (UUID, "handle"):
                raise self.NVMLError("Not Found")
            return self.answers()[name]

        return function

    def answers(self):
        return {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetName": "Made-up 9000",
            "nvmlDeviceGetTotalEnergyConsumption": self.millijoules,
            "nvmlDeviceGetPowerUsage": round(1000 * self.watts),
        }


def test_the_energy_counter_is_in_millijoules():
    driver = Driver()
    meter = nvml(UUID, driver)

    def work():
        driver.millijoules += 250

    use = meter.measure(work, 0)
    assert meter.source == "NVML (Made-up 9000)"
    assert use.joules == use.joules_per_call == 0.25


def test_a_card_without_a_counter_is_sampled():
    driver = Driver("nvmlDeviceGetTotalEnergyConsumption")
    meter = nvml(UUID, driver)
    use = meter.measure(lambda: None, 0.05)
    assert "power of Made-up 9000, sampled" in meter.source
    assert use.watts == pytest.approx(100, rel=0.1)


def test_power_that_changes_is_seen_between_the_first_and_the_last_reading():
    driver = Driver("nvmlDeviceGetTotalEnergyConsumption")
    meter = nvml(UUID, driver)
    # idle before and after: two readings alone would see nothing else
    driver.watts = 0.0
    start = time.perf_counter()

    def work():
        driver.watts = 300.0 if time.perf_counter() - start < 0.1 else 0.0

    meter.read()
    assert meter.measure(work, 0.12).joules > 15


@pytest.mark.parametrize(
    ("uuid", "broken", "message"),
    [
        ("GPU-other", (), "NVML does not find the GPU GPU-other: Not Found"),
        (UUID, ("nvmlInit",), "NVML does not find the GPU GPU-0123: Not Supported; is nvidia-smi there"),
        (
            UUID,
            ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"),
            "Made-up 9000 counts no energy, and NVML does not read its power: Not Supported",
        ),
    ],
)
def test_what_cannot_be_measured_has_its_reason(uuid, broken, message):
    with pytest.raises(UnmeasurableError, match=message):
        nvml(uuid, Driver(*broken))


def test_a_device_of_another_kind_is_not_measured():
    with pytest.raises(UnmeasurableError, match="NVML measures NVIDIA's GPUs; cpu is none"):
        gpu_meter("cpu")
