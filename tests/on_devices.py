"""What a training on several devices comes to, printed as JSON: a process of its own, in which a CPU is 8 devices.

python tests/on_devices.py
"""

import json
import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits
from specimens import CLASSES, Tiny, specimen

from synevo import keys
from synevo.errors import SynevoError
from synevo.evolution import evolve, trained_ancestor
from synevo.genetics.archive import Birth, Memory
from synevo.genetics.heredity import HEREDITIES
from synevo.genetics.organism import Organism
from synevo.model.network import take_apart
from synevo.plan.fields import EncodingPlan, EvolutionPlan, Plan, TrainingPlan
from synevo.tasks.classification import classification
from synevo.tasks.task import Examples, InMemory, Problem
from synevo.training import placement
from synevo.training.evaluation import evaluate, outputs_of
from synevo.training.fit import State, fit, start
from synevo.training.side_by_side import in_turn, on_devices

FOUND = load_digits()
WANTED = FOUND.target < CLASSES
PIXELS = (FOUND.images[WANTED, :, :, None] * 15.9).astype(np.uint8)
LABELS = FOUND.target[WANTED].astype(np.int32)
TASK = classification((0.3,), (0.4,))


@dataclass(frozen=True)
class Read:
    """Examples that are not in memory, as far as a training knows."""

    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, places: Any, /) -> Any:
        return self.examples[places]


def split(first: int, count: int) -> InMemory:
    return InMemory({"image": PIXELS[first : first + count], "label": LABELS[first : first + count]})


PROBLEM = Problem(TASK, split(0, 256), split(256, 100), split(356, 100))


class Normed(nnx.Module):
    """A network whose first layer is the norm, so that NumPy can say what its statistics become."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.BatchNorm(1, momentum=0.9, rngs=rngs)
        self.hidden = nnx.Linear(64, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.out(self.dropout(nnx.relu(self.hidden(self.norm(x).reshape(len(x), -1)))))


class Annotated(nnx.Module):
    """A network whose author says how a layer is to be spread, over a mesh of the author's own."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 16, rngs=rngs)
        self.out = nnx.Linear(16, CLASSES, rngs=rngs)
        mesh = jax.make_mesh((2, 4), ("rows", "columns"), axis_types=(AxisType.Auto, AxisType.Auto))
        self.spread = NamedSharding(mesh, PartitionSpec("rows", "columns"))

    def __call__(self, x: Array) -> Array:
        x = jax.lax.with_sharding_constraint(self.hidden(x.reshape(len(x), -1)), self.spread)
        jax.debug.inspect_array_sharding(x, callback=SEEN.append)
        return self.out(nnx.relu(x))


SEEN: list[Any] = []


def train(module: type[nnx.Module], examples: Examples, *, scanned: bool | None = None, **plan: Any) -> State:
    """The state of a module after its training, with one dead row."""
    network = take_apart(module(nnx.Rngs(0)))
    masks = {"hidden/kernel": np.arange(64)[:, None] * np.ones(16) > 0}
    settings = TrainingPlan(**{"epochs": 2, "batch_size": 64, **plan})
    state = start(network, settings, examples)
    for after in fit(jax.random.key(1), state, TASK, examples, settings, masks=masks, scanned=scanned):
        state = after
    return state


def told(state: State, **where: Any) -> dict[str, Any]:
    """The loss of a training, and the outputs and score of its network on 100 examples; more than that, or fewer."""
    place = placement.placement(where.get("devices", 1), shard=where.get("shard", False))
    return {
        "loss": state.loss,
        "score": evaluate(state.network, TASK, PROBLEM.validation, place),
        "outputs": outputs_of(state.network, TASK, PROBLEM.validation, place).tolist(),
        "dead": float(np.abs(np.asarray(state.network.parameters["hidden/kernel"])[0]).sum()),
    }


def trainings() -> dict[str, Any]:
    """The same training in several ways."""
    held, read = PROBLEM.train, Read(PROBLEM.train)
    ways: dict[str, Any] = {
        "1": (held, {}),
        "8": (held, {"devices": "all"}),
        "8, as one program": (held, {"devices": 8, "scanned": True}),
        "8, not in memory": (read, {"devices": 8}),
        "8, spread": (held, {"devices": 8, "shard": True}),
    }
    found = {}
    for way, (examples, settings) in ways.items():
        state = train(Normed, examples, **settings)
        found[way] = told(state, **settings)
        kernel = state.network.parameters["hidden/kernel"]
        found[way]["held by a device"] = kernel.addressable_shards[0].data.size / kernel.size
    return found


def statistics() -> dict[str, list[float]]:
    """The statistics of the norm after a step on all examples, sorted by class, on 8 devices and as NumPy has them."""
    order = np.argsort(PIXELS[:256].mean(axis=(1, 2, 3)))
    examples = InMemory(jax.tree.map(lambda array: array[order], PROBLEM.train.arrays))  # type: ignore[attr-defined]
    state = train(Normed, examples, epochs=1, batch_size=256, devices=8)
    seen = (PIXELS[:256].astype(np.float64) / 255 - 0.3) / 0.4
    found = [float(np.asarray(state.network.statistics[name]).sum()) for name in ("norm/mean", "norm/var")]
    return {"found": found, "expected": [0.1 * seen.mean(), 0.9 + 0.1 * seen.var()]}


def annotations() -> dict[str, Any]:
    """What becomes of the annotation of a user, of a training with it, and with devices of the plan as well."""
    SEEN.clear()
    found = told(train(Annotated, PROBLEM.train))
    seen = [str(one.spec) for one in SEEN]
    try:
        train(Annotated, PROBLEM.train, devices=8)
    except SynevoError as error:
        return {"seen": seen, **found, "alone": told(train(Plain, PROBLEM.train)), "both": str(error)}
    return {}


class Plain(Annotated):
    """The same network without the annotation."""

    def __call__(self, x: Array) -> Array:
        return self.out(nnx.relu(self.hidden(x.reshape(len(x), -1))))


def heredity(organism: Organism) -> float:
    """The largest difference of what is measured on 8 devices and on one, relative to the largest value."""
    near, plan = placement.placement(8, together=False).over(PROBLEM.train), EncodingPlan(audit=0.1)
    one, other = (HEREDITIES["sensitivity"].worth(organism, TASK, split, plan) for split in (PROBLEM.train, near))
    assert one.clusters is not None
    assert other.clusters is not None
    pairs = [(np.asarray(one.synapses[key]), np.asarray(other.synapses[key])) for key in one.synapses]
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in [*pairs, (one.clusters, other.clusters)])


def lineage(devices: int) -> tuple[list[Any], list[float], Organism]:
    """The masks and the scores of two generations, and the last organism."""
    training = TrainingPlan(epochs=2, batch_size=32, learning_rate=1e-2, devices=devices)
    plan = Plan(
        ancestor_training=training,
        training=training,
        encoding=EncodingPlan(cluster="filter"),
        evolution=EvolutionPlan(generations=2, max_drop=1.0),
    )
    archive, key = Memory(), keys.root(3)
    species = specimen(Tiny).species
    for event in trained_ancestor(key, species, PROBLEM, plan):
        if isinstance(event, Birth):
            archive.keep(event)
    for _ in evolve(key, archive.organism("g01"), PROBLEM, plan, archive=archive):
        pass
    organisms = [archive.organism(f"g{generation:02d}") for generation in (1, 2)]
    scores = [one.scores.validation for one in archive.lineage().individuals if one.scores]
    return [one.masks for one in organisms], scores, organisms[-1]


def lineages() -> dict[str, Any]:
    """Whether a lineage has the same masks on 1, 2 and 8 devices, and how far its scores are apart."""
    masks, scores, last = lineage(1)
    living = [int(sum(mask.sum() for mask in one.values())) for one in masks]
    found: dict[str, Any] = {"heredity": heredity(last), "living": living}
    for devices in (2, 8):
        others, reached, _ = lineage(devices)
        same = [all(np.array_equal(a[name], b[name]) for name in a) for a, b in zip(masks, others, strict=True)]
        found[str(devices)] = {"same": same, "apart": float(np.abs(np.subtract(scores, reached)).max())}
    return found


def brood(bear: Any) -> list[bytes]:
    """All arrays of a brood of three, and how many trainings were told before the first of them was born."""
    training = TrainingPlan(epochs=2, batch_size=32, learning_rate=1e-2)
    plan = Plan(training=training, evolution=EvolutionPlan(generations=2, population=3, max_drop=1.0))
    archive, told = Memory(), 0
    for event in evolve(keys.root(3), specimen(Tiny).organism, PROBLEM, plan, archive=archive, bear=bear):
        told += not isinstance(event, Birth) and len(archive.organisms) == 1
    names = [one.name for one in archive.lineage().individuals[1:]]
    arrays = [archive.organisms[name].network.arrays for name in names]
    return [np.asarray(array).tobytes() for one in arrays for array in one.values()] + [str([told, *names]).encode()]


def broods() -> dict[str, Any]:
    """Whether a brood is the same in turn and on three devices, and what was told of it."""
    one = brood(in_turn)
    other = brood(partial(on_devices, ends=lambda event: isinstance(event, Birth)))
    return {"same": one[:-1] == other[:-1], "told": [one[-1].decode(), other[-1].decode()]}


def failing() -> list[str]:
    """What becomes of work on devices of which one part fails."""

    def work(item: int) -> Iterator[str]:
        yield f"{item} on {jax.numpy.zeros(1).devices().pop().id}"
        if item == 1:
            raise ValueError("no more")
        yield "end"

    seen = []
    try:
        seen.extend(on_devices(range(3), work, ends=lambda event: event == "end"))
    except ValueError as error:
        seen.append(str(error))
    return seen[-1:]


def main() -> None:
    placement.LARGE = 64  # type: ignore[misc]
    found = {"trainings": trainings(), "statistics": statistics(), "annotations": annotations(), "lineages": lineages()}
    found |= {"broods": broods(), "failing": failing()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
