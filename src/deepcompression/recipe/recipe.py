"""A recipe: rules of how to prune, share and encode each tensor, read from YAML."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import yaml
from pydantic import Field, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator

from deepcompression.common.messages import aligned, listed, show
from deepcompression.common.settings import RecipePart
from deepcompression.pruning.criteria import survivor_count
from deepcompression.pruning.schedule import OneShot, Schedule
from deepcompression.recipe.hints import unselected, why_no_match
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import Described, Target, check_dense, computed_by_others, targets_of

if TYPE_CHECKING:
    from torch.nn import Module


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which YAML's loaders drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Match(NamedTuple):
    """A target and the rule that selects it, or None: the target is stored unchanged."""

    target: Target
    rule: Rule | None


class Recipe(RecipePart):
    """Rules: the first that selects a tensor wins; a tensor that no rule selects does not change.

    `Recipe.load` reads one from YAML; unknown keys are errors. `seed` feeds all random choices.
    """

    version: Literal[1] = 1
    name: str = ""
    seed: int = Field(default=0, ge=0, strict=True)
    schedule: Schedule = OneShot()
    rules: tuple[Rule, ...]

    @field_validator("schedule", mode="before")
    @classmethod
    def _by_name(cls, schedule: object) -> object:
        """`one-shot` means `{kind: one-shot}`."""
        return {"kind": schedule} if isinstance(schedule, str) else schedule

    @model_validator(mode="wrap")
    @classmethod
    def _numbered_from_1(cls, data: Any, validate: ModelWrapValidatorHandler[Recipe]) -> Recipe:
        """Messages count rules from 1, in YAML and in Python."""
        try:
            return validate(data)
        except ValidationError as error:
            raise ValueError(_explain_errors(error)) from None

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> Recipe:
        """The recipe in a YAML file, or the preset of that name (`Recipe.presets()`).

        Raises ValueError that names the file and the place of every mistake, and FileNotFoundError if there is neither.
        """
        presets = cls.presets()
        if isinstance(source, str) and source in presets:
            content, name = presets[source].read_bytes(), f"preset {source}"
        else:
            path = Path(source)
            if not path.exists():
                raise FileNotFoundError(
                    f"no recipe file {path}, nor a preset of that name; presets are {', '.join(presets)}"
                )
            content, name = path.read_bytes(), str(path)
        try:
            data = yaml.load(content, _EachKeyOnce)
        except yaml.YAMLError as error:
            raise ValueError(f"{name}: not YAML: {error}") from None
        if not isinstance(data, dict):
            raise ValueError(f"{name}: a recipe is a mapping with `rules`, found {type(data).__name__}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ValueError(f"{name}: {_explain_errors(error)}") from None

    @classmethod
    def of(cls, recipe: Recipe | str | os.PathLike[str]) -> Recipe:
        """A recipe as it is, or `load`ed from a path or by a preset's name."""
        if not isinstance(recipe, Recipe | str | os.PathLike):
            raise TypeError(
                f"a recipe is a Recipe, a path, or a preset's name; found a {type(recipe).__name__}. "
                "Recipe.model_validate makes one of a dict"
            )
        return recipe if isinstance(recipe, Recipe) else cls.load(recipe)

    @staticmethod
    def presets() -> dict[str, Any]:
        """Name -> file of each preset."""
        folder = resources.files("deepcompression.recipe") / "presets"
        return {Path(file.name).stem: file for file in sorted(folder.iterdir(), key=lambda file: file.name)}

    def to_yaml(self) -> str:
        """The recipe as YAML that `load` reads back. Raises ValueError if a rule has a callable."""
        for number, rule in enumerate(self.rules, 1):
            if rule.where is not None:
                raise ValueError(f"rule {number} selects by a callable, which YAML cannot hold")
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)

    def matches(self, model: Module | Mapping[str, Described], exact: Container[str] = ()) -> list[Match]:
        """Every tensor with its rule; those named in `exact` have none.

        Raises ValueError for a rule that selects nothing that earlier rules leave.
        """
        check_dense(model, "prune and share")
        targets = [*targets_of(model, exact), *computed_by_others(model)]
        selected = [[number for number, rule in enumerate(self.rules) if rule.selects(target)] for target in targets]
        first = {numbers[0] for numbers in selected if numbers}
        for number, rule in enumerate(self.rules):
            # only a model shows whether a rule by type selects nothing
            if number not in first and not (rule.optional and (rule.type is None or _has_modules(targets))):
                taken = [target.name for target, numbers in zip(targets, selected, strict=True) if number in numbers]
                raise ValueError(self._no_match(number, rule, targets, taken))
        return [
            Match(target, self.rules[numbers[0]] if numbers else None)
            for target, numbers in zip(targets, selected, strict=True)
        ]

    def _no_match(self, number: int, rule: Rule, targets: list[Target], taken: list[str]) -> str:
        if taken:
            return f"rule {number + 1} ({rule}) comes too late: earlier rules took {listed(taken)}; put it before them"
        if targets and rule.type is not None and not _has_modules(targets):
            return f"rule {number + 1} ({rule}) selects by type, which only a model has: use module or tensor"
        if rule.tensor is not None and (kept := [t for t in targets if t.kept and rule.wants(t)]):
            reasons = [f"{target.name} ({target.kept})" for target in kept]
            return f"rule {number + 1} ({rule}) selects only what stays as it is: {listed(reasons)}"
        names = [name for target in targets if not target.kept for name in target.names]
        hint = " (module and type select tensors of at least two dimensions; name others by tensor)"
        if elementwise := [t.name for t in targets if t.elementwise and not t.kept and rule.wants(t)]:
            hint = f" ({listed(elementwise)} scales or shifts others element by element; name it by tensor)"
        hint = "" if rule.tensor else hint
        if advice := why_no_match(rule, targets):
            hint = f": {advice}"
        return f"rule {number + 1} ({rule}) matches nothing{hint}; there are {listed(names) or 'no weights'}"

    def explain(self, model: Module | Mapping[str, Described]) -> None:
        """Prints `describe`."""
        show(self.describe(model))

    def describe(self, model: Module | Mapping[str, Described]) -> str:
        """A table of every tensor: its shape, its number of weights, its rule, and the rule's treatment; and a hint if
        no rule selects most weights.
        """
        matches = self.matches(model)
        rows = [("tensor", "shape", "weights", "rule", "treatment")]
        for target, rule in matches:
            number = "-" if rule is None else str(self.rules.index(rule) + 1)
            shape = "x".join(map(str, target.shape)) or "scalar"
            rows.append((" = ".join(target.names), shape, f"{target.count:,}", number, _describe(rule, target)))
        hint = unselected(matches)
        return aligned(rows) + (f"\n{hint}" if hint else "")


def _has_modules(targets: list[Target]) -> bool:
    """Whether the targets belong to a model, not to a checkpoint."""
    return any(target.places for target in targets)


def _describe(rule: Rule | None, target: Target) -> str:
    if rule is None:
        why = target.kept if target.exact else "scales or shifts others, element by element" * target.elementwise
        return f"keep: {why}" if why else "keep"
    parts = []
    if (prune := rule.prune) is not None:
        if prune.density is None:
            amount = f"at {prune.quality:g} deviations"
        elif prune.criterion == "global-magnitude":
            amount = f"to {prune.density:.4g} of all tensors of the rule"
        else:
            amount = f"to {survivor_count(target.count, prune.density):,}"
        parts.append(f"prune by {prune.criterion} {amount}")
    if (share := rule.share) is not None:
        grid = f", {share.codebook_grid} grid" if share.codebook_grid else ""
        if share.bits is None:
            parts.append(f"share with penalty {share.penalty:.3g}")
        else:
            parts.append(f"share {1 << share.bits} centroids ({share.init}{grid})")
    if rule.encode is not None:
        parts.append("encode " + ", ".join(f"{k} {v}" for k, v in rule.encode.model_dump(exclude_none=True).items()))
    return "; ".join(parts) or "keep"


def _explain_errors(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part + 1) if isinstance(part, int) else part for part in item["loc"])
        message = "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        if item["type"] not in ("extra_forbidden", "missing", "value_error") and "found" not in message:
            value = item["input"]
            message += (
                f"; found {value!r}" if isinstance(value, str | int | float) else f"; found a {type(value).__name__}"
            )
        lines.append(f"{where}: {message}" if where else message)
    return "; ".join(lines)
