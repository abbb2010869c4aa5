"""Recipe: what to do to which tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deepcompression.codebook import CODEBOOKS
from deepcompression.criteria import CRITERIA, survivor_count
from deepcompression.encode import CODERS
from deepcompression.positions import GAP_BITS
from deepcompression.schedule import OneShot, Schedule
from deepcompression.targets import Described, Target, module_name, targets_of

if TYPE_CHECKING:
    from torch.nn import Module


def _one_of(kind: str, name: str, table: Mapping[str, object]) -> str:
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
    return name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prune(_Part):
    """Which weights survive: `density` (survivors / weights) or, for the criterion `threshold`, `quality` (in
    standard deviations).
    """

    criterion: str = "magnitude"
    density: float | None = Field(default=None, ge=0, le=1)
    quality: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @field_validator("criterion")
    @classmethod
    def _known(cls, value: str) -> str:
        return _one_of("criterion", value, CRITERIA)

    @model_validator(mode="after")
    def _amount(self) -> Prune:
        wanted = CRITERIA[self.criterion].amount
        for name in ("density", "quality"):
            if (getattr(self, name) is not None) != (name == wanted):
                raise ValueError(f"the criterion {self.criterion} takes {wanted}, and nothing else")
        return self

    @property
    def amount(self) -> float:
        """The density or quality to reach."""
        amount = self.density if self.quality is None else self.quality
        assert amount is not None
        return amount

    @property
    def start(self) -> float:
        """The density or quality at which nothing is pruned."""
        return 1.0 if self.quality is None else 0.0


class Share(_Part):
    """A codebook of at most 2^bits centroids, initialised by `init` (linear is the paper's choice), then Lloyd's
    k-means.

    `codebook_grid` keeps the centroids, in training too, on a grid: integers of int8 or int16 times one scale.
    `penalty`, in the place of bits, gives as many centroids as are worth their bytes: the squared error, in units of
    the tensor's mean square, plus the penalty for each bit of entropy-coded codes is least. Small weights become zero.
    """

    bits: int | None = Field(default=None, ge=1, le=8, strict=True)
    penalty: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    init: str = "linear"
    codebook_grid: Literal["int8", "int16"] | None = None

    @field_validator("init")
    @classmethod
    def _known(cls, value: str) -> str:
        return _one_of("init", value, CODEBOOKS)

    @model_validator(mode="after")
    def _one_amount(self) -> Share:
        if (self.bits is None) == (self.penalty is None):
            raise ValueError("share takes either bits or a penalty")
        if self.penalty is not None and self.codebook_grid is not None:
            raise ValueError("a penalty chooses the centroids: it does not go with codebook_grid")
        return self


class Encode(_Part):
    """How to write the tensor; what is not said is chosen by size."""

    coder: str | None = None
    gap_bits: int | None = Field(default=None, ge=GAP_BITS[0], le=GAP_BITS[-1], strict=True)

    @field_validator("coder")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value if value is None else _one_of("coder", value, CODERS)


class Rule(_Part):
    """What to do to the tensors that it selects. All selectors given must agree; patterns are globs (`fc*`,
    `conv[12]`).

    module   a module's name (`layers.0.fc1`); selects its weights: parameters of at least two dimensions
    type     the name of a module's class or of a class it is derived from (`Linear`); selects weights likewise
    tensor   a tensor's own name (`fc1.bias`); selects any floating-point parameter
    where    a callable (Python only) that takes a `Target` and tells whether it is selected
    optional the rule may select nothing that earlier rules leave, which is an error otherwise

    A rule without prune, share or encode keeps its tensors as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    module: str | None = None
    type: str | None = None
    tensor: str | None = None
    where: Callable[[Target], bool] | None = Field(default=None, exclude=True)
    optional: bool = False
    prune: Prune | None = None
    share: Share | None = None
    encode: Encode | None = None

    @model_validator(mode="after")
    def _selects(self) -> Rule:
        if (self.module, self.type, self.tensor, self.where) == (None, None, None, None):
            raise ValueError("a rule needs a selector: module, type, tensor or where")
        return self

    def selects(self, target: Target) -> bool:
        if not target.floating or target.trained is False:
            return False
        if self.tensor is None and self.where is None and len(target.shape) < 2:
            return False
        if self.tensor is not None and not any(fnmatchcase(name, self.tensor) for name in target.names):
            return False
        if self.module is not None and not any(fnmatchcase(module_name(n), self.module) for n in target.names):
            return False
        if self.type is not None and not any(self.type in _class_names(module) for module, _ in target.places):
            return False
        return self.where is None or self.where(target)

    def __str__(self) -> str:
        selectors = self.model_dump(include={"module", "type", "tensor"}, exclude_none=True)
        parts = [f"{key}: {value}" for key, value in selectors.items()]
        return ", ".join(parts + [f"where: {self.where!r}"] * (self.where is not None))


def _class_names(module: object) -> set[str]:
    return {base.__name__ for base in type(module).__mro__}


class Match(NamedTuple):
    """A target and the rule that met it (None: stored as it is)."""

    target: Target
    rule: Rule | None


class Recipe(_Part):
    """Rules, of which the first that selects a tensor wins; what no rule selects is kept as it is.

    Read from YAML by `Recipe.load`; unknown keys are errors. `seed` feeds whatever is drawn at random.
    """

    version: Literal[1] = 1
    name: str = ""
    seed: int = Field(default=0, ge=0, strict=True)
    schedule: Schedule = OneShot()
    rules: tuple[Rule, ...]

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> Recipe:
        """From a YAML file, or by the name of a preset (`Recipe.presets()`).

        Raises ValueError that names the file and the place of every mistake, FileNotFoundError if there is neither.
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
            data = yaml.safe_load(content)
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
        return recipe if isinstance(recipe, Recipe) else cls.load(recipe)

    @staticmethod
    def presets() -> dict[str, Any]:
        """Name -> file of each preset."""
        folder = resources.files("deepcompression") / "presets"
        return {Path(file.name).stem: file for file in sorted(folder.iterdir(), key=lambda file: file.name)}

    def to_yaml(self) -> str:
        """The recipe as YAML that `load` reads back. Raises ValueError if a rule has a callable."""
        for number, rule in enumerate(self.rules, 1):
            if rule.where is not None:
                raise ValueError(f"rule {number} selects by a callable, which YAML cannot hold")
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)

    def matches(self, model: Module | Mapping[str, Described]) -> list[Match]:
        """Every tensor of a model or checkpoint with its rule. Raises ValueError for a rule that selects no tensor, or
        none that earlier rules leave to it.
        """
        targets = targets_of(model)
        selected = [[number for number, rule in enumerate(self.rules) if rule.selects(target)] for target in targets]
        first = {numbers[0] for numbers in selected if numbers}
        for number, rule in enumerate(self.rules):
            # whether a rule by type may select nothing, only a model can tell
            if number not in first and not (rule.optional and (rule.type is None or _has_modules(targets))):
                taken = [target.name for target, numbers in zip(targets, selected, strict=True) if number in numbers]
                raise ValueError(self._no_match(number, rule, targets, taken))
        return [
            Match(target, self.rules[numbers[0]] if numbers else None)
            for target, numbers in zip(targets, selected, strict=True)
        ]

    def _no_match(self, number: int, rule: Rule, targets: list[Target], taken: list[str]) -> str:
        if taken:
            return f"rule {number + 1} ({rule}) comes too late: earlier rules took {_list(taken)}; put it before them"
        if rule.type is not None and not _has_modules(targets):
            return f"rule {number + 1} ({rule}) selects by type, which only a model can tell: use module or tensor"
        names = [name for target in targets if target.floating and target.trained is not False for name in target.names]
        hint = (
            "" if rule.tensor else " (module and type select tensors of at least two dimensions; name others by tensor)"
        )
        return f"rule {number + 1} ({rule}) matches nothing{hint}; there are {_list(names)}"

    def explain(self, model: Module | Mapping[str, Described]) -> None:
        """Prints `describe`."""
        print(self.describe(model))

    def describe(self, model: Module | Mapping[str, Described]) -> str:
        """A table of every tensor: its shape, how many weights it has, the rule that met it, and what that will
        do.
        """
        rows = [("tensor", "shape", "weights", "rule", "what is done")]
        for target, rule in self.matches(model):
            number = "-" if rule is None else str(self.rules.index(rule) + 1)
            shape = "x".join(map(str, target.shape)) or "scalar"
            rows.append((" = ".join(target.names), shape, f"{target.count:,}", number, _describe(rule, target)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def _has_modules(targets: list[Target]) -> bool:
    """Whether these are the tensors of a model, not of a checkpoint."""
    return any(target.places for target in targets)


def _list(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "no weights"


def _describe(rule: Rule | None, target: Target) -> str:
    parts = []
    if rule is not None and rule.prune is not None:
        parts.append(f"prune by {rule.prune.criterion}")
        if rule.prune.criterion == "global-magnitude":
            parts[-1] += f" to {rule.prune.density:.4g} of all tensors of the rule"
        elif rule.prune.density is not None:
            parts[-1] += f" to {survivor_count(target.count, rule.prune.density):,}"
        else:
            parts[-1] += f" at {rule.prune.quality:g} deviations"
    if rule is not None and rule.share is not None:
        grid = f", {rule.share.codebook_grid} grid" if rule.share.codebook_grid else ""
        if rule.share.bits is None:
            parts.append(f"share with penalty {rule.share.penalty:.3g}")
        else:
            parts.append(f"share {1 << rule.share.bits} centroids ({rule.share.init}{grid})")
    if rule is not None and rule.encode is not None:
        parts.append("encode " + ", ".join(f"{k} {v}" for k, v in rule.encode.model_dump(exclude_none=True).items()))
    return "; ".join(parts) or "keep"


def _explain_errors(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part + 1) if isinstance(part, int) else part for part in item["loc"])
        message = "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {message}" if where else message)
    return "; ".join(lines)
