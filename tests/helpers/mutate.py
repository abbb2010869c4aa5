"""Reads spoilt files in processes of little memory: python tests/helpers/mutate.py --count 1000000 [--result hostile].

Each must end in FormatError, or in exactly the tensors that were saved. Files whose checksums were all set right may
give other tensors, of the shapes in the index. These are failures: another exception, a difference between the ways to
read, more than a second of CPU time, more memory than `MEMORY_BYTES`, a crash. `--first NUMBER --count 1` repeats one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

# pytest finds the twins by its own settings, a script does not
sys.path.append(str(Path(__file__).resolve().parents[1] / "twins"))

import mutations
from cases import content

from deepcompression.common.binary import FormatError
from deepcompression.file.reader import DczFile

ROOT = Path(__file__).resolve().parents[2]

# the decoded bytes of one file, and the address space that a process may take for it
LIMIT_BYTES = 1 << 20
MEMORY_BYTES = 64 << 20
SECONDS = 1.0
# the system kills a process that hangs so long
HANG_SECONDS = 20
CHUNK = 2000


@dataclass
class Tally:
    """The outcomes of some cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, 0)
    memory_bytes: int = 0

    def add(self, other: Tally) -> None:
        self.outcomes += other.outcomes
        self.failures |= other.failures
        self.slowest = max(self.slowest, other.slowest)
        self.memory_bytes = max(self.memory_bytes, other.memory_bytes)


def found_in(path: Path) -> mutations.Content | None:
    """The tensors of a file as both ways of reading give them; None if it is refused."""
    try:
        file = DczFile(path, LIMIT_BYTES)
    except FormatError:
        return None
    found: mutations.Content = {}
    refused = False
    with file:
        for name, entry in file.entries.items():
            ways = []
            for read in (file.read_dense, file.read):
                try:
                    ways.append(content(read(name)))
                except FormatError:
                    ways.append(None)
            if ways[0] != ways[1]:
                raise AssertionError(f"read and read_dense differ on {name!r}")
            if ways[0] is None:
                refused = True
            elif ways[0][:2] != (entry.dtype, entry.shape):
                raise AssertionError(f"{name!r} is not what the index says")
            else:
                found[name] = ways[0]
    return None if refused else found


def outcome(case: mutations.Case, path: Path) -> str:
    path.write_bytes(case.data)
    found = found_in(path)
    if found is None:
        return "refused"
    if found in case.saved:
        return "the same tensors"
    if case.repaired:
        return "other tensors"
    raise AssertionError("tensors that nobody saved")


def work(sound: list[mutations.Sample], cases: range, at: multiprocessing.Value, results: Connection) -> None:
    """Reads the cases; `at` shows the parent the one at hand, should this process die."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.dcz"
        for number in cases:
            at.value = number
            signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
            case = mutations.case(number, sound)
            start = time.process_time()
            try:
                ended = outcome(case, path)
            except BaseException as error:
                ended = "failed"
                tally.failures[number] = f"{case.kind}: {type(error).__name__}: {error}"
            seconds = time.process_time() - start
            tally.slowest = max(tally.slowest, (seconds, number))
            if seconds > SECONDS:
                tally.failures[number] = f"{case.kind}: {seconds:.1f} seconds"
            tally.outcomes[f"{case.kind}: {ended}"] += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
    tally.memory_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) << 10
    results.send(tally)


def run(chunks: Iterator[range], processes: int) -> Tally:
    """All chunks, each in a process of its own. Where one dies, its tally is lost and the case is a failure."""
    context = multiprocessing.get_context("fork")
    sound = mutations.samples()
    total = Tally()
    running = {}
    while True:
        while len(running) < processes and (cases := next(chunks, None)) is not None:
            receive, send = context.Pipe(duplex=False)
            at = context.Value("q", cases.start, lock=False)
            process = context.Process(target=work, args=(sound, cases, at, send))
            process.start()
            send.close()
            running[receive] = process, at
        if not running:
            return total
        for receive in wait(list(running)):
            process, at = running.pop(receive)
            try:
                total.add(receive.recv())
            except EOFError:
                process.join()
                total.add(Tally(Counter(died=1), {at.value: f"the process ended with {process.exitcode}"}))
            process.join()


def chunks_of(first: int, count: int | None, seconds: float | None) -> Iterator[range]:
    end = time.monotonic() + (seconds or 0)
    for start in range(first, first + (count or 1 << 60), CHUNK):
        if seconds and time.monotonic() > end:
            return
        yield range(start, min(start + CHUNK, first + (count or 1 << 60)))


def result_of(total: Tally, processes: int, seconds: float) -> dict[str, object]:
    """The content of the result file."""
    from benchmarks.environment import demand, environment

    files, failed = sum(total.outcomes.values()), len(total.failures)
    text = "a million mutated files end in FormatError or in what was saved, each within a second and the memory"
    return {
        "command": " ".join(["python", "tests/helpers/mutate.py", *sys.argv[1:]]),
        **environment(),
        "files": files,
        "outcomes": dict(sorted(total.outcomes.items())),
        "failures": {str(number): what for number, what in sorted(total.failures.items())},
        "limits": {"decoded_bytes": LIMIT_BYTES, "memory_bytes": MEMORY_BYTES, "seconds": SECONDS},
        "slowest": {"seconds": round(total.slowest[0], 4), "case": total.slowest[1]},
        "peak_memory_bytes": total.memory_bytes,
        "processes": processes,
        "seconds": round(seconds, 1),
        "demands": [demand(text, f"{files:,} files, {failed} failures", files >= 1_000_000 and not failed)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--count", type=int, help="how many files")
    amount.add_argument("--seconds", type=float, help="for about how long")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--result", help="name of the file in benchmarks/results to write")
    arguments = parser.parse_args()

    start = time.monotonic()
    total = run(chunks_of(arguments.first, arguments.count, arguments.seconds), arguments.processes)
    seconds = time.monotonic() - start
    files = sum(total.outcomes.values())
    for number, what in sorted(total.failures.items())[:20]:
        print(f"case {number}: {what}")
    if arguments.result:
        sys.path.append(str(ROOT))
        from benchmarks.environment import write_result

        write_result(arguments.result, result_of(total, arguments.processes, seconds))
    outcomes = Counter[str]()
    for name, count in total.outcomes.items():
        outcomes[name.partition(": ")[2] or name] += count
    print(
        f"{'reader':20} {files:8} inputs, {files / seconds:6.0f} a second: "
        + ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
        + f"; slowest {total.slowest[0] * 1000:.0f} ms, {total.memory_bytes / 2**20:.1f} MB more than at rest"
    )
    return bool(total.failures)


if __name__ == "__main__":
    sys.exit(main())
