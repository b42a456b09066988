"""How long a step of training takes: convolutions as products against as they are written, and against PyTorch.

For each network, contestants take turns, a round of `--steps` steps each, on random images, and the median of the
counted rounds is compared:

    as written       every convolution as the network has it, and XLA's own convolutions (`training/compiling.py`)
    XLA's defaults   the same without any option
    products         1×1 and depthwise convolutions as products (`model/products.py`), as `synevo` trains by default
    share S          the same of an offspring that keeps a share S of the units of each layer: generation by generation
    PyTorch          the same network in channels-last, where the interpreter of `--torch` has it

    python tests/bench_training.py --only mobilenet --batch 64 --torch /elsewhere/bin/python
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from specimens import hatch

from synevo import ancestors, keys
from synevo.genetics.organism import Organism, Species
from synevo.model.network import take_apart
from synevo.plan.fields import TrainingPlan
from synevo.runs import measuring
from synevo.runs.measuring import Timing
from synevo.tasks.classification import classification
from synevo.tasks.task import InMemory
from synevo.training import compiling, fit
from synevo.wiring import masks
from synevo.wiring.dissection import dissect
from synevo.wiring.units import keep_one

NETWORKS = ("lenet5", "lenet5-caffe", "resnet20", "mobilenet")
SHARES = (0.7, 0.5, 0.35, 0.25)
TASK = classification((0.0,), (1.0,))
Convolutions = Literal["products", "as-written"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=NETWORKS, help=", ".join(NETWORKS))
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--steps", type=int, default=2, help="steps a round")
    parser.add_argument("--rounds", type=int, default=9, help="rounds that are counted, after 1 of warm-up")
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES, help="shares of the units that are kept")
    parser.add_argument("--torch", default=sys.executable, help="a Python interpreter that has PyTorch")
    options = parser.parse_args()
    machine = measuring.describe()
    print(f"{machine['device']}, {machine['threads']} threads, jax {machine['libraries']['jax']}, ", end="")
    print(f"batches of {options.batch}, {options.steps} steps a round, 1 round of warm-up, {options.rounds} counted")
    for name in options.only:
        race(name, options)


def race(name: str, options: argparse.Namespace) -> None:
    """Print the time of a step of each contestant, and its ratio to that of the network with products."""
    side = 28 if name == "lenet5-caffe" else 32
    shape = side, side, 1 if name.startswith("lenet") else 3
    network = take_apart(hatch(ancestors.find(name), shape, 10))
    first = Organism.first(Species(dissect(network, shape), network), network)
    images = random_images(options.steps * options.batch, shape)
    contestants = {
        "as written": epoch_of(first, images, options.batch, "as-written"),
        "XLA's defaults": by_default(epoch_of(first, images, options.batch, "as-written")),
        "products": epoch_of(first, images, options.batch),
    }
    for share in options.shares:
        contestants[f"share {share:g}"] = epoch_of(offspring(first, share), images, options.batch)
    given = {"channels": shape[2], "batch": options.batch, "steps": options.steps}
    kept = mock.patch.object(compiling, "forget_programs")  # a training of its own starts in each round
    with kept, torch_process(options.torch, name, **given) as torch:
        if torch is not None:
            contestants["PyTorch"] = torch
        timings = measuring.race(contestants, rounds=options.rounds, warm_up=1, patience=3600)
    whole = timings["products"].median
    print(f"\n{name}" + ("" if torch else ": no comparison with PyTorch, which is not installed (--torch)"))
    for contestant, timing in timings.items():
        share = f"{timing.median / whole:6.2f} of the time of products"
        print(f"  {contestant:15s} {share}   {spread(timing, options.steps)} ms a step")


def epoch_of(
    organism: Organism, images: InMemory, batch: int, convolutions: Convolutions = "products"
) -> Callable[[], object]:
    """One epoch of training an organism from the same start each time."""
    plan, living = TrainingPlan(epochs=1, batch_size=batch, convolutions=convolutions), organism.living

    def epoch() -> object:
        state = fit.start(jax.tree.map(jnp.array, organism.network), plan, images)
        return [after.network for after in fit.fit(keys.root(0), state, TASK, images, plan, masks=living)][-1]

    return epoch


def by_default(epoch: Callable[[], object]) -> Callable[[], object]:
    """An epoch whose step is compiled as XLA would without options."""
    plain = jax.jit(fit._resident_step, static_argnums=0, donate_argnums=(1, 2))

    def patched() -> object:
        with mock.patch.object(fit, "_compiled", return_value=plain):
            return epoch()

    return patched


@contextmanager
def torch_process(
    python: str, network: str, *, channels: int, batch: int, steps: int
) -> Iterator[Callable[[], object] | None]:
    """A round of the same steps in PyTorch, in another process that waits while others run; None without PyTorch."""
    found = subprocess.run([python, "-c", "import torch"], check=False, capture_output=True).returncode == 0
    if network not in NETWORKS or not found:
        yield None
        return
    numbers = {"channels": channels, "batch": batch, "steps": steps, "threads": measuring.threads()}
    words = [python, str(Path(__file__).with_name("bench_torch.py")), "--network", network]
    words += [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asks, answers = process.stdin, process.stdout
        print(f"\nPyTorch {answers.readline().strip()} in a process of its own")

        def ask() -> object:
            asks.write("\n")
            if not answers.readline():
                raise RuntimeError("The PyTorch process ended.")
            return None

        yield ask
        asks.close()


def random_images(count: int, shape: Sequence[int]) -> InMemory:
    """Random images with random labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *shape), np.uint8)
    return InMemory({"image": pixels, "label": rng.integers(0, 10, count).astype(np.int32)})


def offspring(parent: Organism, share: float) -> Organism:
    """An offspring with a share of the units of each layer, at random; what layers share is decided once."""
    wiring, random = parent.species.anatomy.wiring, np.random.default_rng(0)
    alive, decided = np.ones(wiring.units, bool), np.zeros(wiring.units, bool)
    for layer in wiring.layers:
        made = {part for unit in layer.outputs for part in wiring.parts(int(unit))}
        open_ = np.array(sorted(unit for unit in made if not decided[unit]), int)
        alive[random.permutation(open_)[round(share * len(open_)) :]] = False
        decided[open_] = True
    network = parent.network
    return Organism.left(parent.species, network, masks.full(wiring, network), keep_one(wiring, alive))


def spread(timing: Timing, parts: int = 1) -> str:
    """The median and the quartiles of a timing, each in so many parts."""
    return f"{timing.median / parts:.1f} ({timing.lower / parts:.1f}-{timing.upper / parts:.1f})"


if __name__ == "__main__":
    main()
