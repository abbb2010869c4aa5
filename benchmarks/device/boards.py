"""Boards that qemu emulates: programs of device/ built for them, run, and their instructions counted."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.environment import ROOT

DEVICE = ROOT / "device"
BOARDS = DEVICE / "boards"
BUILT = ROOT / "build" / "device"

Sources = tuple[Path, ...]

COMMON = (
    *("-Os", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffunction-sections", "-fdata-sections"),
    *(f"-I{DEVICE}", f"-I{BOARDS}"),
)

# registers are saved by shared code, which takes less flash
RISCV = ("-march=rv32imc", "-mabi=ilp32", "-msave-restore", "--specs=picolibc.specs")


@dataclass(frozen=True)
class Board:
    """A processor, the machine that emulates it, and its memory."""

    name: str
    prefix: str  # of the compiler and its tools
    flags: tuple[str, ...]
    emulator: tuple[str, ...]
    flash: int
    ram: int
    ram_size: int = 1 << 20

    @property
    def start(self) -> Path:
        return BOARDS / ("start_riscv.c" if "riscv" in self.prefix else "start_arm.c")


def _arm(name: str, machine: str, cpu: str, fpu: str | None = None, **places: int) -> Board:
    flags = ("-mthumb", f"-mcpu={cpu}", *((f"-mfpu={fpu}", "-mfloat-abi=hard") if fpu else ()), "--specs=nano.specs")
    memory = {"flash": 0, "ram": 0x20000000} | places
    return Board(name, "arm-none-eabi-", flags, ("qemu-system-arm", "-machine", machine), **memory)


SMALL = _arm("M0+", "microbit", "cortex-m0plus", ram_size=16 << 10)
BOARDS_OF = {
    board.name: board
    for board in (
        SMALL,
        _arm("M3", "mps2-an385", "cortex-m3"),
        _arm("M4F", "mps2-an386", "cortex-m4", "fpv4-sp-d16"),
        _arm("M7", "mps2-an500", "cortex-m7", "fpv5-sp-d16"),
        _arm("M33", "mps2-an505", "cortex-m33", "fpv5-sp-d16", flash=0x10000000, ram=0x38000000),
        Board(
            *("RV32IMC", "riscv64-unknown-elf-", RISCV),
            ("qemu-system-riscv32", "-machine", "virt", "-bios", "none"),
            *(0x80000000, 0x80200000),
        ),
    )
}
# The code of an M0+ on a machine with more RAM than any with this processor has here.
LARGE = _arm("M0+", "mps2-an385", "cortex-m0plus")

TOOLS = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    "qemu-system-riscv32": "qemu-system-misc",
}


def need_tools() -> None:
    """Raises SystemExit that names the tools which are missing."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        raise SystemExit(f"{', '.join(missing)} not found: run `make device-tools` first")


def _run(command: Sequence[str | Path], folder: Path, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    words = [*map(str, command)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds)


def build(board: Board, name: str, sources: Iterable[Path], flags: Iterable[str] = ()) -> Path:
    """A program of these sources for a board; what it does not use is left out. Raises RuntimeError with what the
    compiler says.
    """
    folder = BUILT / board.name.replace("+", "plus")
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"{name}.elf"
    places = {"FLASH": board.flash, "RAM": board.ram, "RAM_SIZE": board.ram_size}
    linked = ("-nostartfiles", "-T", BOARDS / "board.ld", "-Wl,--gc-sections,--no-warn-rwx-segments")
    defined = (f"-Wl,--defsym={place}={value}" for place, value in places.items())
    compiler = (f"{board.prefix}gcc", *board.flags, *COMMON, *flags)
    done = _run((*compiler, *sources, BOARDS / "board.c", board.start, *linked, *defined, "-o", program), ROOT)
    if done.returncode:
        raise RuntimeError(f"{name} does not build for {board.name}:\n{done.stderr}")
    return program


def compiled(
    board: Board, sources: Iterable[Path], switches: Iterable[str], folder: Path, flags: Sequence[str] = ()
) -> list[Path]:
    """The object file of each source."""
    folder = folder / board.name.replace("+", "plus")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for source in sources:
        made.append(folder / f"{source.parent.name}-{source.stem}.o")
        done = _run(
            (f"{board.prefix}gcc", *board.flags, *COMMON, *flags, *switches, "-c", source, "-o", made[-1]), folder
        )
        if done.returncode:
            raise RuntimeError(f"{source} does not compile for {board.name}:\n{done.stderr}")
    return made


@cache
def _linkable(board: Board, sources: Sources, switches: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(compiled(board, sources, switches, BUILT / "sizes" / "".join(switches)))


@cache
def link_size(
    board: Board, sources: tuple[Path, ...], functions: tuple[str, ...], switches: tuple[str, ...] = ()
) -> int:
    """Bytes of code and constants of these functions and all that they use, without a start or a main."""
    program = BUILT / "size.elf"
    wanted = (f"-Wl,-u,{function}" for function in functions)
    linked = ("-nostartfiles", "-Wl,--gc-sections,-e,0,--no-warn-rwx-segments", *wanted)
    objects = _linkable(board, sources, switches)
    done = _run((f"{board.prefix}gcc", *board.flags, *objects, *linked, "-o", program), ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = symbols(board, program)
    if missing := [name for name in functions if name not in found]:
        raise RuntimeError(f"no function is named {', '.join(missing)}")
    printed = _run((f"{board.prefix}size", program), ROOT).stdout
    return int(printed.splitlines()[1].split()[0])


def symbols(board: Board, program: Path) -> dict[str, tuple[int, int]]:
    """Address and size of each symbol that has a size or is a function."""
    done = _run((f"{board.prefix}nm", "-S", program), ROOT)
    rows = re.findall(r"^([0-9a-f]+) (?:([0-9a-f]+) )?\S (\S+)$", done.stdout, re.MULTILINE)
    return {name: (int(address, 16), int(size or "0", 16)) for address, size, name in rows}


def plugin() -> Path:
    """The plugin that counts instructions, built if its source is newer."""
    source, made = BOARDS / "count.c", BUILT / "count.so"
    BUILT.mkdir(parents=True, exist_ok=True)
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        done = _run(("cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", made), ROOT)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return made


@dataclass(frozen=True)
class Run:
    """What a program printed, as name -> number, and the instructions between its marks."""

    numbers: dict[str, int]
    counts: list[int]


def run(board: Board, program: Path, count: bool = True) -> Run:
    """Runs a program in the folder where it lies. Raises RuntimeError unless it ends with 0."""
    named = symbols(board, program)
    begin, end = (named[mark][0] & ~1 for mark in ("board_begin", "board_end"))
    counting = ("-plugin", f"{plugin()},begin={begin:x},end={end:x}") if count else ()
    quiet = ("-nographic", "-monitor", "none", "-serial", "none")
    semihosting = ("-semihosting-config", "enable=on,target=native")
    done = _run((*board.emulator, *quiet, *semihosting, "-kernel", program, *counting), program.parent)
    printed = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(f"{program.name} on {board.name} ends with {done.returncode}:\n{printed}")
    lines = re.findall(r"^(\S+) (\d+)$", printed, re.MULTILINE)
    numbers = {name: int(number) for name, number in lines if name != "counted"}
    return Run(numbers, [int(number) for name, number in lines if name == "counted"])
