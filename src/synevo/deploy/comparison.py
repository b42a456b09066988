"""An exported network beside its source, on examples of the test split: outputs, scores and times."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo.compaction.proof import ROUNDINGS, TOLERANCE
from synevo.deploy.interface import answers, at_another_size, at_once, leaves_of, traced, wanted
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError, SynevoError, first_line
from synevo.runs import measuring
from synevo.tasks.task import Batch, Examples, Task, first

BATCH = 256
"""The most examples of a batch."""

RESIZED = 8
"""The number of examples that are compared at another size, where sizes are free."""

_LEAST = 1e-6
"""The least largest value of an output to which a difference is set in relation."""

Runner = Callable[..., Any]
"""An exported file, opened: from the arrays that it takes to those that it gives, one array or a pytree of them."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of an output from the source's, and the source's largest value."""

    name: str
    max_difference: float
    largest: float

    @property
    def relative(self) -> float:
        """The difference relative to the largest value."""
        return self.max_difference / max(self.largest, _LEAST)


@dataclass(frozen=True)
class Comparison:
    """An exported network beside its source on so many test `examples`: outputs, scores, ms at batch 1.

    `top1_agreement` is the share of examples in the same class, for a task whose score is accuracy. `tolerance` is
    the largest relative difference of an output that roundings make.
    """

    examples: int
    outputs: tuple[Difference, ...]
    score_name: str
    better: str
    score: float
    source_score: float
    top1_agreement: float | None
    latency_ms: float
    source_latency_ms: float
    tolerance: float

    @property
    def worst(self) -> Difference:
        """The output that differs most."""
        return max(self.outputs, key=lambda one: one.relative)

    @property
    def near(self) -> bool:
        """Whether no output differs by more than roundings make."""
        return all(one.relative <= self.tolerance for one in self.outputs)


@dataclass(frozen=True)
class Found:
    """What an exported network gave beside its source: differences an output, both scores, examples in the same class.

    `differences` are pairs of the largest difference and the largest value; `alike` is None without classes.
    """

    differences: list[tuple[float, float]]
    score: float
    source_score: float
    alike: float | None


class Reference:
    """A network's own answers in JAX, with which its exported forms are compared; compiled once."""

    def __init__(self, reloaded: Reloaded, task: Task) -> None:
        self.reloaded, self.task = reloaded, task
        self.source, self.size = _source(reloaded), at_once(reloaded, BATCH)
        self._score = jax.jit(task.score)
        self._classifies = _classifies(reloaded, task)

    def beside(self, exported: Runner, examples: Examples) -> Found:
        """Return what an exported network gives for examples, beside its source; errors as in `compare`."""
        totals: list[Any] = [0.0, 0.0]
        differences, alike = [], 0.0
        for begin in range(0, len(examples), self.size):
            batch = examples[np.arange(begin, min(begin + self.size, len(examples)))]
            leaves = leaves_of(self.reloaded, self.task, batch)
            expected = self.source(*leaves)
            found = _like(expected, exported, leaves)
            differences.append(_differences(found, expected))
            for place, outputs in enumerate((found, expected)):
                totals[place] += _sum(self._score, outputs, batch)
            if self._classifies:
                alike += _alike(found, expected)
        scores = [float(self.task.overall(total / len(examples))) for total in totals]
        pairs = [(float(one), float(other)) for one, other in np.max(differences, axis=0)]
        return Found(pairs, scores[0], scores[1], alike / len(examples) if self._classifies else None)


def compare(reloaded: Reloaded, task: Task, examples: Examples, exported: Runner) -> Comparison:
    """Run an exported network and its source on examples, and compare their outputs, scores and times.

    Raises:
        ExportError: where the exported network does not run, or gives arrays of other shapes.
    """
    reference = Reference(reloaded, task)
    found = reference.beside(exported, examples)
    differences = [found.differences, *_at_another_size(reloaded, task, examples, exported)]
    names = [leaf.name for leaf in wanted(reloaded)]
    one = leaves_of(reloaded, task, first(examples, 1))
    timings = measuring.race({"exported": lambda: exported(*one), "source": lambda: reference.source(*one)}, rounds=50)
    return Comparison(
        len(examples),
        tuple(
            Difference(name, *map(float, pair)) for name, pair in zip(names, np.max(differences, axis=0), strict=True)
        ),
        task.name,
        task.better,
        found.score,
        found.source_score,
        found.alike,
        timings["exported"].median,
        timings["source"].median,
        max(TOLERANCE, ROUNDINGS * traced(reloaded, 2).precision),
    )


def _source(reloaded: Reloaded) -> Runner:
    """Return the source, which multiplies with all the digits of its numbers on every device."""
    compiled = jax.jit(lambda network, *leaves: answers(reloaded, network, *leaves))

    def run(*leaves: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return jax.tree.map(np.asarray, compiled(reloaded.network, *map(jnp.asarray, leaves)))

    return run


def _like(expected: Any, exported: Runner, leaves: Sequence[NDArray[Any]]) -> Any:
    """Return what an exported network gives, arranged as the source's outputs; raise ExportError if it does not fit."""
    try:
        found = [np.asarray(leaf) for leaf in jax.tree.leaves(exported(*leaves))]
    except SynevoError:
        raise
    except Exception as error:  # whatever the software of the format raises
        raise ExportError(
            f"The written file does not run: {first_line(error)}", remedy="Export to another format, such as stablehlo."
        ) from error
    shapes = [leaf.shape for leaf in found], [leaf.shape for leaf in jax.tree.leaves(expected)]
    if shapes[0] != shapes[1]:
        raise ExportError(
            f"The written file gives arrays {shapes[0]}, its source {shapes[1]}.",
            remedy="Export to another format, such as stablehlo, and please report the model.",
        )
    return jax.tree.unflatten(jax.tree.structure(expected), found)


def _differences(found: Any, expected: Any) -> list[tuple[float, float]]:
    """Return for each output the largest difference and the largest finite value; equal infinities do not differ."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return [_difference(one.astype(np.float64), other.astype(np.float64)) for one, other in pairs]


def _difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> tuple[float, float]:
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    differing = np.abs(found[~same] - expected[~same])
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    return float(np.where(np.isnan(differing), np.inf, differing).max(initial=0)), float(largest)


def _at_another_size(
    reloaded: Reloaded, task: Task, examples: Examples, exported: Runner
) -> list[list[tuple[float, float]]]:
    """Return the differences of a few examples at another size, where sizes are free."""
    leaves = at_another_size(reloaded, leaves_of(reloaded, task, first(examples, RESIZED)))
    if leaves is None:
        return []
    expected = _source(reloaded)(*leaves)
    return [_differences(_like(expected, exported, leaves), expected)]


def _sum(score: Callable[..., Any], outputs: Any, batch: Batch) -> Any:
    return np.asarray(score(outputs, batch), np.float64).sum(axis=0)


def _classifies(reloaded: Reloaded, task: Task) -> bool:
    """Return whether the largest of a network's outputs are classes, which the score counts."""
    leaves = wanted(reloaded)
    return task.name == "accuracy" and len(leaves) == 1 and len(leaves[0].shape) > 1 and leaves[0].shape[-1] != 1


def _alike(found: Any, expected: Any) -> float:
    """Return how many examples are in the same class, or their share of places where each has many."""
    ((one,), (other,)) = (jax.tree.leaves(outputs) for outputs in (found, expected))
    same = one.argmax(axis=-1) == other.argmax(axis=-1)
    return float(same.reshape(len(same), -1).mean(axis=1).sum())


def table(comparison: Comparison, *, of_images: bool) -> dict[str, Any]:
    """Return a comparison as a JSON object."""
    latencies = {name: getattr(comparison, name) for name in ("latency_ms", "source_latency_ms")}
    if of_images:
        return {
            "images": comparison.examples,
            "max_difference": comparison.worst.max_difference,
            "largest_logit": comparison.worst.largest,
            "top1_agreement": comparison.top1_agreement,
            "accuracy": comparison.score,
            "source_accuracy": comparison.source_score,
            **latencies,
        }
    agreement = {} if comparison.top1_agreement is None else {"top1_agreement": comparison.top1_agreement}
    return {
        "examples": comparison.examples,
        "outputs": [{**asdict(one), "relative_difference": one.relative} for one in comparison.outputs],
        "score": {
            "name": comparison.score_name,
            "better": comparison.better,
            "exported": comparison.score,
            "source": comparison.source_score,
        },
        **agreement,
        **latencies,
    }
