"""What compaction does to networks of many kinds when half of their units die; part of `make bench`.

For each network: the units of its layers that can be removed and those that are frozen, why, the largest difference of
masked and compacted logits relative to the largest logit, and parameters, multiply-adds and latency before and after.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from architectures import ARCHITECTURES
from flax import nnx
from specimens import Specimen, hatch, images

from synevo import ancestors
from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.model.network import call, take_apart
from synevo.runs import measuring
from synevo.wiring import masks
from synevo.wiring.dissection import check, dissect
from synevo.wiring.units import PERMANENT, keep_one

BATCH = 8
LARGE = ("alexnet", "vgg16", "resnet20", "resnet56", "mobilenet")
SMALL = ("lenet5", "lenet5-caffe", "lenet-300-100")
WRITTEN = ("DenseBlock", "Inception", "SqueezeExcite", "UNet", "ViT", "Mixer")


def main() -> None:
    print(f"Half of the units of each layer removed at random; batches of {BATCH}, 3 rounds of warm-up, 20 counted")
    print(
        f"{'network':14s} {'input':>9s} {'removable':>10s} {'difference':>10s} {'parameters':>23s} "
        f"{'multiply-adds':>27s} {'ms':>15s}  frozen"
    )
    for name, factory, shape in networks():
        print(row(name, of := dissected(factory, shape), half_of(of)), flush=True)


def networks() -> Iterator[tuple[str, Callable[..., nnx.Module], tuple[int, int, int]]]:
    """The ancestors, and networks as users write them."""
    for name in SMALL:
        yield name, ancestors.find(name), (32, 32, 1) if name == "lenet5" else (28, 28, 1)
    for name in LARGE:
        yield name, ancestors.find(name), (32, 32, 3)
    for name in WRITTEN:
        yield name, ARCHITECTURES[name], (32, 32, 3)


def dissected(factory: Callable[..., nnx.Module], shape: tuple[int, int, int]) -> Specimen:
    network = take_apart(hatch(factory, shape, 10))
    return Specimen(network, dissect(network, shape), shape)


def half_of(of: Specimen) -> np.ndarray:
    """Flags [units]: half of what each layer makes, at random; what layers share is decided once."""
    random, alive, decided = np.random.default_rng(0), np.ones(of.wiring.units, bool), np.zeros(of.wiring.units, bool)
    for layer in of.wiring.layers:
        made = {part for unit in layer.outputs for part in of.wiring.parts(int(unit))}
        open_ = np.array(sorted(unit for unit in made if not decided[unit]), int)
        alive[random.permutation(open_)[: len(open_) // 2]] = False
        decided[open_] = True
    return keep_one(of.wiring, alive)


def row(name: str, of: Specimen, alive: np.ndarray) -> str:
    check(of.network, of.anatomy, alive)
    organism = Organism.left(of.species, of.network, masks.full(of.wiring, of.network), alive)
    masked, compact, x = organism.whole, organism.network, jnp.asarray(images(BATCH, of.shape))
    large, small = np.asarray(call(masked, x)), np.asarray(call(compact, x))
    timings = measuring.race({"before": lambda: call(of.network, x), "after": lambda: call(compact, x)}, rounds=20)
    before, after = (timings[name].median for name in ("before", "after"))
    counts = [census.count(one) for one in (of.organism, organism)]
    parameters, costs = [one.parameters for one in counts], [one.multiply_adds for one in counts]
    difference = np.abs(large - small).max() / np.abs(large).max()
    return (
        f"{name:14s} {'×'.join(str(side) for side in of.shape):>9s} {100 * removable(of):8.1f} % {difference:10.1e} "
        f"{parameters[0]:>10,} → {parameters[1]:>10,} {costs[0]:>12,} → {costs[1]:>12,} {before:6.2f} → {after:6.2f}  "
        f"{frozen(of)}"
    )


def removable(of: Specimen) -> float:
    """The share of what the layers make that can be removed; the outputs of the network are not counted."""
    outputs = np.concatenate([layer.outputs for layer in of.wiring.layers])
    return float((outputs != PERMANENT).sum()) / (len(outputs) - 10)


def frozen(of: Specimen) -> str:
    """Why axes are frozen, and how many are for each reason."""
    reasons = Counter(one.reason for one in of.wiring.frozen)
    return "; ".join(f"{count} {'axis' if count == 1 else 'axes'}: {reason}" for reason, count in reasons.items())


if __name__ == "__main__":
    main()
