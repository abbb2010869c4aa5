"""What one rule of a recipe says: which tensors it selects, and how they are pruned, shared and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from deepcompression.codebook import CODEBOOKS
from deepcompression.criteria import CRITERIA
from deepcompression.encode import CODERS
from deepcompression.positions import GAP_BITS
from deepcompression.targets import Target, module_name


def _one_of(kind: str, name: str, table: Mapping[str, object]) -> str:
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
    return name


class Part(BaseModel):
    """A part of a recipe: unknown keys are errors, and it does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Prune(Part):
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


class Share(Part):
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


class Encode(Part):
    """How to write the tensor; what is not said is chosen by size."""

    coder: str | None = None
    gap_bits: int | None = Field(default=None, ge=GAP_BITS[0], le=GAP_BITS[-1], strict=True)

    @field_validator("coder")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value if value is None else _one_of("coder", value, CODERS)


class Rule(Part):
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
