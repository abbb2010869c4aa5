"""Every page is wrapped, has short sentences and plain words, and names only files that exist. The second reader quotes
the format page word for word.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for place in ("*.md", "docs/**/*.md", "data/**/*.md", "browser/*.md") for page in ROOT.glob(place))
COLUMNS, WORDS = 100, 35
BANNED = ("what is", "of which", "gone on with", "tells", "is told", "are told", "made anew", "stands in", "broken off")

FENCE = re.compile(r"\s*(```|~~~)")
ITEM = re.compile(r"(\s*)([-*]|\d+\.)\s+")
SENTENCE = re.compile(r"(?<=[.!?])[)*_\"]*\s+(?=[A-Z0-9(*\[†])")
# lines that may be long, or have no words of ours
WHOLE = re.compile(r"\s*(<!--.*-->|\[[^\]]+\]:.*|#+ .*)$")


class Line(NamedTuple):
    number: int
    text: str


def mark(line):
    """The mark that begins an item of a list; empty for other lines."""
    found = ITEM.match(line)
    return found[0] if found else ""


def prose(text):
    """The lines that are neither code nor tables."""
    fenced = False
    block = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
            block = False
        elif fenced:
            continue
        elif line.startswith("    ") and (block or not listed(text, number)):
            block = True
        else:
            block = block and not line.strip()
            if not line.startswith("|"):
                yield Line(number, line)


def listed(text, number):
    """Whether an indented line belongs to the item of a list above it."""
    for line in reversed(text.splitlines()[: number - 1]):
        if ITEM.match(line):
            return True
        if line.strip() and not line.startswith(" "):
            return False
    return False


def paragraphs(text):
    """Runs of prose, items and headings apart, and the cells of tables."""
    run: list[str] = []
    first = last = 0
    for number, line in prose(text):
        if run and (number > last + 1 or not line.strip() or ITEM.match(line) or WHOLE.match(line)):
            yield Line(first, " ".join(run))
            run = []
        if line.strip() and not line.lstrip().startswith("<!--"):
            first = first if run else number
            run.append(line[len(mark(line)) :].strip())
        last = number
    if run:
        yield Line(first, " ".join(run))
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("| "):
            yield from (Line(number, cell.strip()) for cell in line.strip("| ").split(" | "))


def plain(text):
    """Code and formulas as one word each, links as their text."""
    text = re.sub(r"`[^`]+`|\$[^$]+\$", "X", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def faults(text):
    """Each as (line, what is wrong)."""
    found = []
    for number, line in prose(text):
        breakable = " " in line[len(mark(line)) : COLUMNS].strip()
        if len(line) > COLUMNS and breakable and not WHOLE.match(line):
            found.append((number, f"{len(line)} columns"))
    for number, paragraph in paragraphs(text):
        words = plain(paragraph)
        for sentence in SENTENCE.split(words):
            if len(sentence.split()) > WORDS:
                found.append((number, f"{len(sentence.split())} words: {sentence}"))
        found += [(number, phrase) for phrase in BANNED if re.search(rf"\b{phrase}\b", words, re.I)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_wrapped_and_plain(page):
    assert faults(page.read_text()) == []


SHORT = "A page of one short sentence.\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"{'word ' * 20}and one.\n{SHORT}", (1, "108 columns")),
        (f"- an item {'word ' * 20}\n", (1, "110 columns")),
        (f"{SHORT}\n{' '.join(['and on'] * 9)}\n{' '.join(['and on'] * 9)}.\n", (3, "36 words: " + "and on " * 18)),
        (f"{SHORT}\nThis is what\nis wrong.\n", (3, "what is")),
        (f"| a table |\n| --- |\n| the part of which it tells |\n{SHORT}", (3, "of which")),
    ],
)
def test_a_fault_is_found(text, fault):
    (line, what), *_ = faults(text)
    assert (line, what.rstrip(".")) == (fault[0], fault[1].strip())


@pytest.mark.parametrize(
    "text",
    [
        f"| {'cell ' * 20} | {'cell ' * 20} |\n",
        f"```\n{'code ' * 60}what is\n```\n",
        f"Code:\n\n    {'code ' * 60}\n\n    {'code ' * 60}\n",
        f"- https://{'a' * 120}\n",
        f"{'word ' * 19}end. {SHORT}".replace(". A", ".\nA"),
    ],
)
def test_code_tables_and_links_are_no_prose(text):
    assert faults(text) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_only_tables_and_fenced_code_are_wider_than_a_page(page):
    outside = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    wide = [line for line in outside.splitlines() if len(line) > COLUMNS and not line.startswith("|")]
    assert [line for line in wide if not WHOLE.match(line)] == []


def links(page):
    return re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", page.read_text())


def paths(page):
    """Code that is the path of one file or folder."""
    for found in sorted(set(re.findall(r"`([^`\n]+)`", page.read_text()))):
        if re.fullmatch(r"[a-z_][\w.-]*(/[\w.-]+)+/?", found) and re.search(r"\.(py|[ch]pp|md|yaml|json)$|/$", found):
            yield found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_is_named_exists(page):
    roots = (ROOT, ROOT / "src" / "deepcompression")
    assert [path for path in paths(page) if not any((root / path).exists() for root in roots)] == []


def words(text):
    """Text without marks, line breaks and capital letters."""
    return " ".join(re.sub(r"[`*]", "", text).lower().split())


def quotes(path):
    """The texts of `demand` in a file of the second reader, but those with numbers filled in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "demand":
            quote = node.args[1]
            if isinstance(quote, ast.Constant):
                yield quote.value


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/twins/second_reader*.py")), ids=lambda path: path.stem)
def test_the_second_reader_quotes_the_page_of_the_format(path):
    page = words((ROOT / "docs" / "format.md").read_text())
    found = list(quotes(path))
    assert found
    assert [quote for quote in found if words(quote) not in page] == []
