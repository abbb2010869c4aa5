"""The core's folders include each other in one direction: docs/design.md, "Rooms of the core"."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core"


def lines_of_rooms():
    section = (ROOT / "docs/design.md").read_text().partition("## Rooms of the core\n")[2].partition("\n## ")[0]
    return [line.split() for line in section.split("```")[1].strip().splitlines()]


def sources():
    return sorted(path for path in CORE.rglob("*") if path.suffix in {".hpp", ".cpp"})


def included(path):
    return re.findall(r'^#include "(.+)"$', path.read_text(), re.MULTILINE)


def test_every_folder_of_the_core_is_a_room():
    named = [room for line in lines_of_rooms() for room in line]
    assert len(named) == len(set(named))
    assert set(named) == {str(path.parent.relative_to(CORE)) for path in sources()}


def test_rooms_include_only_rooms_of_lines_above():
    level = {room: number for number, line in enumerate(lines_of_rooms()) for room in line}
    wrong = [
        f"{path.relative_to(CORE)} includes {name}"
        for path in sources()
        for name in included(path)
        if (room := str(path.parent.relative_to(CORE))) != (other := str(Path(name).parent))
        and level[other] >= level[room]
    ]
    assert not wrong, wrong


def test_includes_are_written_from_core():
    missing = [f"{path}: {name}" for path in sources() for name in included(path) if not (CORE / name).is_file()]
    assert not missing, missing
