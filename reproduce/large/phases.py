"""The paper's schedule as a list of phases.

First comes training, then pruning and retraining of convolutions and fully connected layers in turn, then sharing and
training of centroids.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import deepcompression as dc
from reproduce.large.networks import Large

CONVOLUTIONS, CONNECTED = "conv", "fc"
_DROPOUT = 0.5


@dataclass(frozen=True)
class Rates:
    """Epochs and first learning rates of each kind of phase, by SGD (for centroids, by Adam)."""

    epochs: float
    rate: float
    retrain_epochs: float
    retrain_rate: float
    share_epochs: float
    share_rate: float


@dataclass(frozen=True)
class Phase:
    """One stretch of training, the rate falling from `rate` to 0 along a cosine.

    prunes   the kind of layers that are pruned further before it: `conv`, `fc`, or none
    turn     how often that kind has been pruned before
    shares   whether weights are shared before it: centroids are trained then
    frozen   the kinds of layers that are not trained
    dropout  the rates after fc6 and fc7
    """

    name: str
    epochs: float
    rate: float
    prunes: str = ""
    turn: int = 0
    shares: bool = False
    frozen: tuple[str, ...] = ()
    dropout: tuple[float, float] = (_DROPOUT, _DROPOUT)
    warmup: int = 0

    def described(self) -> dict[str, Any]:
        """For checkpoints and results, as JSON gives it back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def rules_of(recipe: dc.Recipe, kind: str) -> dc.Recipe:
    """The recipe's rules for one kind of layers."""
    return recipe.model_copy(update={"rules": tuple(r for r in recipe.rules if (r.module or "").startswith(kind))})


def check_recipe(recipe: dc.Recipe, model: Large) -> None:
    """Raises ValueError for a recipe that phases cannot follow."""
    for number, rule in enumerate(recipe.rules, 1):
        if not (rule.module or "").startswith((CONVOLUTIONS, CONNECTED)) or rule.prune is None or rule.share is None:
            raise ValueError(
                f"recipe {recipe.name}, rule {number} ({rule}): each rule must name modules that begin with "
                f"{CONVOLUTIONS} or {CONNECTED}, and prune and share them"
            )
        if rule.prune.density is None:
            raise ValueError(f"recipe {recipe.name}, rule {number} ({rule}): prune takes a density here")
    if recipe.schedule.kind == "gradual":
        raise ValueError(f"recipe {recipe.name}: the schedule must be rounds or one-shot; found gradual")
    recipe.matches(model)


def _rounds(recipe: dc.Recipe) -> int:
    return recipe.schedule.last_step + 1


def _dropout(recipe: dc.Recipe, model: Large, turn: int) -> tuple[float, float]:
    """The rates after fc6 and fc7, when their layers have been pruned `turn` times."""
    if not turn:
        return _DROPOUT, _DROPOUT
    found = {}
    for target, rule in recipe.matches(model):
        if rule is not None and rule.prune is not None:
            found[target.name] = recipe.schedule.amount(1.0, rule.prune.amount, turn - 1)
    six, seven = (dc.scaled_dropout(_DROPOUT, found.get(f"fc{number}.weight", 1.0)) for number in (6, 7))
    return six, seven


def schedule(recipe: dc.Recipe, model: Large, rates: Rates, frozen: tuple[str, ...] = ()) -> list[Phase]:
    """The phases of a recipe, in order. Kinds of layers in `frozen` are neither trained nor pruned, but shared with the
    rest. Without `epochs`, the weights are pretrained and the phase `train` is left out.
    """
    phases = []
    if rates.epochs:
        phases.append(Phase("train", rates.epochs, rates.rate, frozen=frozen, warmup=500))
    for turn in range(_rounds(recipe)):
        for kind, other in ((CONVOLUTIONS, CONNECTED), (CONNECTED, CONVOLUTIONS)):
            if kind in frozen:
                continue
            pruned = turn + 1 if kind == CONNECTED else turn
            phases.append(
                Phase(
                    f"prune {kind} {turn + 1}/{_rounds(recipe)}",
                    rates.retrain_epochs,
                    rates.retrain_rate,
                    prunes=kind,
                    turn=turn,
                    frozen=(other,),
                    dropout=_dropout(recipe, model, pruned),
                )
            )
    dropout = _dropout(recipe, model, _rounds(recipe))
    phases.append(Phase("share", rates.share_epochs, rates.share_rate, shares=True, frozen=frozen, dropout=dropout))
    return phases


def without_compression(phases: list[Phase], rates: Rates) -> list[Phase]:
    """The same phases with nothing pruned or shared, for a dense network that trains as long."""
    return [
        replace(
            phase,
            name=f"longer: {phase.name}",
            prunes="",
            shares=False,
            dropout=(_DROPOUT, _DROPOUT),
            rate=rates.retrain_rate,
        )
        for phase in phases
        if phase.name != "train"
    ]
