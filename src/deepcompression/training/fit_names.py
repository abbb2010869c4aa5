"""Names of a file's tensors matched to those of a model: prefixes, ties, and what the model makes by itself."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from deepcompression.recipe.targets import plain_modules, unwrapped

if TYPE_CHECKING:
    from torch.nn import Module


def matched(model: Module, own: Collection[str], theirs: Collection[str]) -> tuple[dict[str, str], str]:
    """The names of a file by the names that the model would give its tensors, and a note on what was guessed, or none.

    own     the names of the model's tensors
    theirs  the names of the file's

    These are the same names, the names that transformers gives to files of its models, or either with a prefix. The
    first that agrees with most names of the model is taken.
    """
    ways = [{name: name for name in theirs}]
    if not ways[0].keys() >= set(own):
        ways.append(_renamed(model, theirs))
    found = []
    for way in ways:
        less, more = _prefix(own, way.keys())
        found.append(({more + name.removeprefix(less): each for name, each in way.items()}, less, more))
    # no two names become one
    found = [each for each in found if len(each[0]) == len(theirs)] or [(ways[0], "", "")]
    names, less, more = max(found, key=lambda each: len(each[0].keys() & set(own)))
    note = f"its names are taken {'without' if less else 'with'} the prefix {less or more!r}" if less or more else ""
    return names, note


def _prefix(own: Collection[str], theirs: Collection[str]) -> tuple[str, str]:
    """The prefix that the names of a file have beyond those of the model, and the reverse; one is empty.

    A model and its base model name the same tensors with and without a prefix, such as `bert.`. It counts if more names
    then agree, and if these are most of the model's or of the file's.
    """
    counts = Counter({("", ""): len(set(own) & set(theirs))})
    counts.update((prefix, "") for name in theirs for prefix, rest in _splits(name) if rest in own)
    counts.update(("", prefix) for name in own for prefix, rest in _splits(name) if rest in theirs)
    (best, count), *others = counts.most_common(2)
    clear = 2 * count > min(len(own), len(theirs)) and all(other < count for _, other in others)
    return best if clear else ("", "")


def _renamed(model: Module, theirs: Collection[str]) -> dict[str, str]:
    """The names of a file by the names that transformers gives them when it loads its own model. Other models, and
    names of tensors that it would also convert, stay as they are: `Joined` converts them.
    """
    if not hasattr(model, "base_model_prefix") or "transformers" not in sys.modules:
        return {name: name for name in theirs}
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming, rename_source_key
    # before version 5 files and models have the same names
    except ImportError:
        return {name: name for name in theirs}
    steps = get_model_conversion_mapping(cast(Any, model))
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters: list[Any] = [step for step in steps if not isinstance(step, WeightRenaming)]
    found = {name: rename_source_key(name, renamings, converters) for name in theirs}
    return {name if converted else new: name for name, (new, converted) in found.items()}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """All ways to take whole parts off the front: `a.b.c` -> (`a.`, `b.c`), (`a.b.`, `c`)."""
    parts = name.split(".")
    for count in range(1, len(parts)):
        yield ".".join(parts[:count]) + ".", ".".join(parts[count:])


class OwnBusiness:
    """What a model does without a file: its unsaved buffers, and the names that it declares as transformers does."""

    def __init__(self, model: Module) -> None:
        self._unsaved: set[str] = set()
        self._kinds: set[tuple[str, tuple[int, ...]]] = set()
        for name, module in plain_modules(model):
            for local in module._non_persistent_buffers_set:
                if (buffer := module._buffers.get(local)) is not None:
                    self._unsaved.add(f"{name}.{local}".removeprefix("."))
                    self._kinds.add((local, tuple(buffer.shape)))
        self._declared: Mapping[str, list[str]] = {
            what: list(getattr(unwrapped(model), f"_keys_to_ignore_on_load_{what}", None) or ())
            for what in ("missing", "unexpected")
        }

    def covers_surplus(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of a file is a buffer that the model no longer saves, perhaps in another module."""
        kind = name.rpartition(".")[2], shape
        return name in self._unsaved or kind in self._kinds or self._declares("unexpected", name)

    def covers_missing(self, name: str) -> bool:
        """Whether the model says that files may lack a tensor."""
        return self._declares("missing", name)

    def _declares(self, what: str, name: str) -> bool:
        return any(re.search(pattern, name) for pattern in self._declared[what])
