"""Energy from the counters of a made-up machine."""

import errno
from pathlib import Path

import pytest

from deepcompression.bench import energy
from deepcompression.bench.energy import Consumption, Meter, UnmeasurableError, rapl


def zone(root, folder, name, energy_uj, around=1_000_000):
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{around}\n")
    return path / "energy_uj"


def test_packages_and_memory_are_counted_and_parts_of_packages_are_not(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl:0:1", "dram", 20)
    zone(tmp_path, "intel-rapl:1", "package-1", 3)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 7)
    meter = rapl(tmp_path)
    assert meter.source == "RAPL (package-0, dram, package-1)"
    assert meter.read() == (100, 20, 3)
    assert meter.ranges == (1_000_000,) * 3


def test_joules_of_calls_are_the_difference_also_where_a_counter_wraps_around(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 999_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0, 5_000_000)
    meter = rapl(tmp_path)
    called = []

    def work():
        called.append(1)
        first.write_text("1000\n")
        second.write_text("4000000\n")

    use = meter.measure(work, 0)
    assert len(called) == use.calls == 1
    assert use.joules == use.joules_per_call == pytest.approx(4.002)
    assert use.seconds > 0


def test_work_is_repeated_for_the_wanted_time(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    use = rapl(tmp_path).measure(lambda: None, 0.01)
    assert use.calls > 1
    assert use.seconds >= 0.01


def test_energy_by_call_and_by_second():
    use = Consumption(6.0, 2.0, 3)
    assert (use.joules_per_call, use.watts) == (2.0, 3.0)


def test_no_counters(tmp_path):
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UnmeasurableError, match=f"no RAPL counters in {root}; .*modprobe"):
            rapl(root)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    with pytest.raises(UnmeasurableError, match="no RAPL counters"):
        rapl(tmp_path)


def test_counters_that_may_not_be_read(tmp_path, monkeypatch):
    # tests may run as root, who may read any file
    forbidden = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    read_text = Path.read_text

    def refuse(self, *rest):
        if self == forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read_text(self, *rest)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UnmeasurableError, match=f"{forbidden} may not be read; sudo chmod a.r {tmp_path}/intel-rapl"):
        rapl(tmp_path)


@pytest.mark.parametrize("content", ["", "many"])
def test_counters_that_are_not_numbers(tmp_path, content):
    zone(tmp_path, "intel-rapl:0", "package-0", 1).write_text(content)
    with pytest.raises(UnmeasurableError, match="cannot be read: invalid literal"):
        rapl(tmp_path)


def test_counters_that_miss_a_file(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1).unlink()
    with pytest.raises(UnmeasurableError, match=r"cannot be read: .*No such file"):
        rapl(tmp_path)


def test_counters_that_stand_still_are_noticed(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 12)
    with pytest.raises(UnmeasurableError, match=r"RAPL \(package-0\) stand still"):
        rapl(tmp_path).idle(0.001)


def test_idling_is_counted_while_nothing_is_done():
    readings = iter([(0,), (3_000_000,)])
    use = Meter("test", lambda: next(readings), (0,)).idle(0.001)
    assert (use.joules, use.calls) == (3.0, 1)


def test_this_machine_counts_or_says_why_not():
    try:
        found = rapl().source
    except UnmeasurableError as error:
        found = str(error)
    assert found.startswith("RAPL (") or str(energy.POWERCAP) in found
