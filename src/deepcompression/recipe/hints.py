"""What to do about a pattern that matches nothing, and about weights that no rule selects."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from deepcompression.common.messages import are, listed
from deepcompression.recipe.targets import Target, module_name

if TYPE_CHECKING:
    from deepcompression.recipe.recipe import Match
    from deepcompression.recipe.rule import Rule

# the part of all weights that is worth a hint
_MOST = 0.5


def why_no_match(rule: Rule, targets: Iterable[Target]) -> str:
    """The mistake that a rule without match probably makes, with the pattern that would match; else empty."""
    targets = list(targets)
    kinds = {kind.__name__ for target in targets for module, _ in target.places for kind in type(module).__mro__}
    if rule.type is not None and rule.type not in kinds:
        own = dict.fromkeys(type(module).__name__ for target in targets for module, _ in target.places)
        return f"type is the whole name of a class, without patterns; classes here are {listed(own)}"
    tensors = [name for target in targets if not target.kept for name in target.names]
    modules = [module_name(name) for target in targets if target.weight for name in target.names]
    for word, pattern, names, other, others in (
        ("module", rule.module, modules, "tensor", tensors),
        ("tensor", rule.tensor, tensors, "module", modules),
    ):
        if pattern is None or _selected(pattern, names):
            continue
        if hint := whole_name(pattern, names, f"{word}: "):
            return hint.removeprefix(": ")
        if found := _selected(pattern, others):
            return f"{listed(found, 3)} {are(len(found))} selected by {other}: {pattern!r}"
        if found := [name for name in names if fnmatchcase(name.lower(), f"*{pattern.lower()}*")]:
            return f"did you mean {listed(found, 3)}? The case of letters and the whole dotted name count"
    return ""


def whole_name(pattern: str, names: Iterable[str], word: str = "") -> str:
    """A hint, after a colon, for a pattern that matches within the dotted names alone; else empty."""
    inner = f"*.{pattern}"
    if not (found := _selected(inner, names)):
        return ""
    return f": a pattern is compared with the whole dotted name: {word}{inner!r} matches {listed(found, 3)}"


def unselected(matches: Iterable[Match]) -> str:
    """A hint if weights that no rule selects are more than half of all; else empty."""
    weights = [match for match in matches if match.target.weight]
    total = sum(match.target.count for match in weights)
    left = sorted((target for target, rule in weights if rule is None), key=lambda target: -target.count)
    count = sum(target.count for target in left)
    if count <= _MOST * total:
        return ""
    return (
        f"no rule selects {listed([target.name for target in left], 3)}, {100 * count / total:.0f} % of all weights, "
        "which are stored exactly: add a rule for them, or one without prune and share if that is meant"
    )


def _selected(pattern: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if fnmatchcase(name, pattern)]
