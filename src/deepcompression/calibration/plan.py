"""Recipes for a size or a quality: one price of a bit for all weights of a network, found by fitting and measuring."""

from __future__ import annotations

import glob
import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from deepcompression.calibration.calibrate import Fitted, attach_fitted
from deepcompression.calibration.comparison import weight_change
from deepcompression.calibration.goal import Goal
from deepcompression.calibration.onnx_network import OnnxNetwork
from deepcompression.calibration.plan_problem import Problem
from deepcompression.calibration.price_search import Attempt, Draft, Line, line_of, reach_change, reach_size
from deepcompression.coding.coders import DEFAULT_PROFILE, check_profile, encode
from deepcompression.common.binary import digest
from deepcompression.common.extras import named_extra
from deepcompression.common.messages import aligned, some
from deepcompression.common.units import times_smaller
from deepcompression.file.effect import Effect
from deepcompression.file.writer import Encoded
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import targets_of
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.dtypes import size_bytes
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import Tensor, raw_bytes

if TYPE_CHECKING:
    from torch.nn import Module

# The penalties of sensitivity curves, about a bit apart.
LADDER = tuple(4.0**-bits for bits in (1, 2, 3, 4, 5, 6))


@dataclass(frozen=True)
class Plan:
    """A recipe that reaches a target, and its file.

    recipe       a rule for each shared tensor; `calibrate` with the same model and inputs gives the measured results.
                 Some tensors stay as they are where bytes are left and codebooks cannot grow
    lines        one for each weight
    file_bytes   of the whole file, in the profile of the plan
    dense_bytes  of all its tensors as they are
    effect       the measured change of the outputs on inputs held back from calibration, the change of the weights, and
                 warnings
    predicted    the change of the outputs that the changes of single weights add up to; None without inputs
    tensors      the weights and biases that `apply` puts on the model, by name
    encoded      all tensors of the file
    metadata     of the file, with the change of the outputs
    digests      of the tensors that the plan replaces
    notes        why tensors stay as they are that seem to be weights
    """

    recipe: Recipe
    lines: tuple[Line, ...]
    file_bytes: int
    dense_bytes: int
    effect: Effect
    predicted: float | None
    tensors: Mapping[str, Tensor] = field(repr=False, compare=False)
    encoded: Mapping[str, Encoded | Tie] = field(repr=False, compare=False)
    metadata: Mapping[str, str] = field(repr=False, compare=False)
    digests: Mapping[str, bytes] = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()

    def apply(self, model: Module) -> None:
        """Puts the planned weights on the model of the plan, in place, without measuring again.

        The result is that of `calibrate` with the recipe; the model is left as `share` leaves it. Raises ValueError,
        before anything has changed, for a model that is pruned or shared, or whose weights differ from the plan's.
        """
        from deepcompression.training.attach import check_replaceable
        from deepcompression.training.model_tensors import read_model

        targets = {target.name: target for target in targets_of(model)}
        check_replaceable(model, [targets[name] for name in self.tensors if name in targets], "calibrate")
        present = read_model(model)
        others = [name for name, planned in self.digests.items() if _digest(present.get(name)) != planned]
        if others:
            raise ValueError(
                f"the model differs from the one that was planned for: {some(others)}; plan for this model, or "
                "calibrate it by the plan's recipe"
            )
        attach_fitted(model, Fitted(dict(self.tensors), self.effect), {})

    @property
    def change_of_outputs(self) -> float | None:
        """||y' - y|| / ||y|| of all outputs, on inputs held back from calibration; None without inputs."""
        return self.effect.change_of_outputs

    @property
    def change(self) -> float | None:
        """`change_of_outputs` by its earlier name: never that of the weights."""
        return self.change_of_outputs

    @property
    def change_of_weights(self) -> float:
        """The root mean square of each weight's own ||w' - w|| / ||w||."""
        return self.effect.change_of_weights

    @property
    def warnings(self) -> list[str]:
        """A text for each way in which quality is probably lost, with the names of layers."""
        return self.effect.warnings

    @property
    def ratio(self) -> float:
        return self.dense_bytes / self.file_bytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "file_bytes": self.file_bytes,
            "dense_bytes": self.dense_bytes,
            "ratio": self.ratio,
            **self.effect.to_dict(),
            "predicted_change_of_outputs": self.predicted,
            "tensors": [line._asdict() for line in self.lines],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return self.describe()

    def describe(self, width: int | None = None) -> str:
        """The plan as a table, whose names are shortened where a width is given, and its sums."""
        predicted = "" if self.predicted is None else f"\npredicted from each weight alone: {self.predicted:.4g}"
        notes = "".join(f"\n{note}" for note in self.notes)
        return (
            f"{table(self.lines, width)}\n{self.file_bytes:,} bytes of {self.dense_bytes:,} "
            f"({times_smaller(self.dense_bytes, self.file_bytes)})\n"
            f"{self.effect}{predicted}{notes}"
        )


def table(lines: Iterable[Line], width: int | None = None) -> str:
    """Lines as a table; the last column has the change of the outputs, without inputs that of the weights. Names are
    shortened where a width is given.
    """
    lines = list(lines)
    of = "weights" if any(line.change_of_outputs is None for line in lines) else "outputs"
    headings = ("tensor", "weights", "penalty", "density", "centroids", "bytes", "bits/weight", f"change of {of}")
    rows = (
        (
            line.tensor,
            f"{line.weights:,}",
            f"{line.penalty:.3g}" if line.penalty else "stored as it is",
            f"{line.density:.3f}",
            str(line.centroids) if line.penalty else "-",
            f"{line.file_bytes:,}",
            f"{8 * line.file_bytes / max(1, line.weights):.2f}",
            f"{line.change:.4f}",
        )
        for line in lines
    )
    return aligned([headings, *rows], numbers=True, width=width)


@named_extra()
def sensitivity(
    model: Module | OnnxNetwork | Mapping[str, Tensor | Tie],
    batches: Iterable[Any] | None = None,
    *,
    penalties: Iterable[float] = LADDER,
    profile: str = DEFAULT_PROFILE,
    exact: Container[str] = (),
) -> list[Line]:
    """Measures each weight alone at each penalty: its encoded bytes, its own change and the change of the outputs.

    The outputs are measured on inputs held back from calibration; without batches they are not. Tensors named in
    `exact`, and those that are no weights, are left out. Raises the errors of `calibrate`.
    """
    return curves(_problem(model, batches, exact), penalties, profile)


def curves(problem: Problem, penalties: Iterable[float] = LADDER, profile: str = DEFAULT_PROFILE) -> list[Line]:
    """The sensitivity of a problem."""
    check_profile(profile)
    lines = []
    for name, penalty in product(problem.units, penalties):
        found = problem.fit(name, penalty)
        line = line_of(problem, name, penalty, found, len(encode(found.tensor, profile=profile)[1]))
        if problem.outputs is not None:
            line = line._replace(change_of_outputs=problem.outputs.change(found.replaced(name)).change)
        lines.append(line)
    return lines


@named_extra()
def plan(
    model: Module | OnnxNetwork | Mapping[str, Tensor | Tie],
    batches: Iterable[Any] | None = None,
    *,
    target_size: float | str | None = None,
    target_ratio: float | None = None,
    max_change: float | None = None,
    profile: str = DEFAULT_PROFILE,
    metadata: Mapping[str, str] | None = None,
    exact: Container[str] = (),
) -> Plan:
    """Finds the recipe for one target: a byte has the same price in all weights, by measured bytes and effects.

    batches       calibration inputs, as `calibrate` takes them; without them the change of the weights counts
    target_size   the most bytes of the whole file, which is at most 2 % smaller; or a text such as `5MB`
    target_ratio  bytes of all tensors / bytes of the file, in place of a size
    max_change    the largest ||y' - y|| / ||y|| of all outputs, on the inputs that are held back and on the others;
                  without inputs, the largest root mean square of each weight's own change
    metadata      the metadata of the file: its bytes count, and those of the change of the outputs
    exact         names of tensors that stay as they are, as all do that are no weights: their bytes count

    Changes nothing. Raises ValueError for no target or two, and for one that cannot be reached, with the best reachable
    one. It also raises the errors of `calibrate`.
    """
    goal = Goal.of(target_size, target_ratio, max_change)
    check_profile(profile)
    return solve(_problem(model, batches, exact), goal, profile, metadata or {})


def solve(problem: Problem, goal: Goal, profile: str, metadata: Mapping[str, str]) -> Plan:
    """The plan of a problem. Raises as `plan` does."""
    dense_bytes = sum(size_bytes(t.dtype, t.shape) for t in problem.tensors.values() if not isinstance(t, Tie))
    # the change of the outputs takes as many bytes, whatever it will be
    reserved = {} if problem.outputs is None else problem.outputs.unmeasured().metadata()
    draft = Draft(problem.tensors, profile, {**metadata, **reserved})
    if goal.change is not None:
        attempt = reach_change(problem, goal.change, draft)
    else:
        most = goal.size if goal.size is not None else dense_bytes / (goal.ratio or 1)
        attempt = reach_size(problem, math.floor(most), draft)
    shared = [line for line in attempt.lines if line.penalty]
    rules = (Rule(tensor=glob.escape(line.tensor), share=Share(penalty=line.penalty)) for line in shared)
    tensors = attempt.tensors
    effect = _effect(problem, attempt)
    return Plan(
        Recipe(name="plan", rules=tuple(rules)),
        attempt.lines,
        attempt.file_bytes,
        dense_bytes,
        effect,
        None if problem.outputs is None else math.sqrt(sum(line.change**2 for line in attempt.lines)),
        tensors,
        draft.file(attempt.encoded),
        {**metadata, **effect.metadata()},
        {name: _digest(problem.tensors[name]) for name in tensors},
        problem.notes,
    )


def _effect(problem: Problem, attempt: Attempt) -> Effect:
    outputs = None if problem.outputs is None else problem.outputs.change(attempt.tensors)
    total = sum(line.change**2 for line in attempt.lines) or 1.0
    weights = []
    for line in attempt.lines:
        before, after = problem.tensors[line.tensor], attempt.tensors.get(line.tensor)
        assert not isinstance(before, Tie)
        part = None if outputs is None else line.change**2 / total
        weights.append(weight_change(line.tensor, before.numpy(), (after or before).numpy(), part))
    return Effect(tuple(weights), outputs)


def _problem(
    model: Module | OnnxNetwork | Mapping[str, Tensor | Tie], batches: Iterable[Any] | None, exact: Container[str]
) -> Problem:
    if isinstance(model, Mapping):
        return Problem.of_tensors(model, exact)
    if isinstance(model, OnnxNetwork):
        return Problem.of_network(model, model.tensors, exact)
    return Problem.of_model(model, batches, exact)


def _digest(tensor: Tensor | Tie | None) -> bytes:
    """The digest of a tensor in dense form; empty for a tie, or for no tensor."""
    if tensor is None or isinstance(tensor, Tie):
        return b""
    dense = tensor.dense()
    return digest(f"{dense.dtype} {list(dense.shape)}".encode(), raw_bytes(dense))
