"""One rule of a recipe: its selectors, and the settings for pruning, sharing and encoding."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from pydantic import Field, model_validator

from deepcompression.coding.encode_part import Encode
from deepcompression.common.settings import RecipePart
from deepcompression.pruning.criteria import Prune
from deepcompression.recipe.targets import Target, module_name
from deepcompression.sharing.share_weights import Share


class Rule(RecipePart):
    """The treatment of the tensors that it selects. All its selectors must agree; patterns are globs (`fc*`,
    `conv[12]`).

    module   a module's name (`layers.0.fc1`); selects its weights: of two or more dimensions, none elementwise
    type     the name of a module's class or of a base class (`Linear`); selects weights likewise
    tensor   a tensor's own name (`fc1.bias`); selects any floating-point parameter, but no packed codes
    where    a callable (Python only) that takes a `Target` and returns whether to select it
    optional the rule may select nothing; without it, selecting nothing is an error

    A rule without prune, share or encode does not change its tensors.
    """

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
        allowed = target.weight if self.tensor is None and self.where is None else not target.kept
        return allowed and self.wants(target)

    def wants(self, target: Target) -> bool:
        """Whether its selectors agree on a target, weight or not."""
        if self.tensor is not None and not any(fnmatchcase(name, self.tensor) for name in target.names):
            return False
        if self.module is not None and not any(fnmatchcase(module_name(n), self.module) for n in target.names):
            return False
        if self.type is not None and not any(
            self.type == base.__name__ for module, _ in target.places for base in type(module).__mro__
        ):
            return False
        return self.where is None or self.where(target)

    def names(self, target: Target) -> bool:
        """Whether it selects a target by its name, its module's or a callable, rather than by a pattern."""
        modules = {module_name(name) for name in target.names}
        return self.where is not None or self.tensor in target.names or self.module in modules

    def __str__(self) -> str:
        selectors = self.model_dump(include={"module", "type", "tensor"}, exclude_none=True)
        parts = [f"{key}: {value}" for key, value in selectors.items()]
        return ", ".join(parts + [f"where: {self.where!r}"] * (self.where is not None))
