"""What it costs to measure what filters and synapses are worth, exactly and fast, and how well both agree.

For each network, trained on the digits for `--epochs` epochs: the seconds that the removal of its filters takes one by
one (on large networks of a sample of the filters, and the time of all is calculated), and those of the estimate, the
compilation included; Spearman's rho between both over all filters and within layers; and how many of the weakest 5 %
are the same. Then the same for the sensitivity to synapses, one example at a time and in batches.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.stats import spearmanr

from synevo import evolution, keys
from synevo.genetics import heredity, removal
from synevo.genetics.archive import Birth
from synevo.genetics.organism import Organism
from synevo.plan.compose import compose
from synevo.runs.organisms import prepare, resolve
from synevo.tasks.task import Problem

NETWORKS = ("lenet5", "lenet5-caffe", "resnet20", "mobilenet")
WEAKEST = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=NETWORKS, help=", ".join(NETWORKS))
    parser.add_argument("--epochs", type=int, default=3, help="epochs of training on the digits")
    parser.add_argument("--sample", type=int, default=200, help="the most filters that are removed one by one")
    parser.add_argument("--sensed", type=int, default=heredity.SENSED, help="the examples that are felt one by one")
    options = parser.parse_args()
    filters = f"{'filters':>7s} {'exact s':>8s} {'fast s':>7s} {'rho':>6s} {'in layers':>13s} {'weakest':>7s}"
    print(f"{'network':14s} {filters}   {'synapses':>9s} {'exact s':>8s} {'fast s':>7s} {'in layers':>13s}")
    for name in options.only:
        parent, problem = trained(name, options.epochs)
        print(f"{name:14s} {of_filters(parent, problem, options.sample)}", end="", flush=True)
        print(f"   {of_synapses(parent, problem, options.sensed)}", flush=True)


def trained(name: str, epochs: int) -> tuple[Organism, Problem]:
    """An ancestor after some epochs on the digits, and what it was trained for."""
    sets = (f"ancestor.name={name}", "data.dataset=digits", f"ancestor_training.epochs={epochs}")
    training = ("ancestor_training.batch_size=64", "ancestor_training.learning_rate=0.002")
    plan = resolve(compose(sets=(*sets, *training)))
    context = prepare(plan)
    events = evolution.trained_ancestor(keys.root(0), context.species, context.problem, plan)
    birth = next(event for event in events if isinstance(event, Birth))
    assert birth.organism is not None, "its training diverged"
    return birth.organism, context.problem


def of_filters(parent: Organism, problem: Problem, sample: int) -> str:
    """How the estimate of what filters are worth compares with their removal, as a row."""
    wiring = parent.species.anatomy.wiring
    units = removal.made(wiring)
    chosen = np.sort(np.random.default_rng(0).permutation(units)[:sample])
    given, prices = (parent.network, wiring, problem.task, problem.train), removal.costs_of(parent, removal.SYNAPSES)
    exact, long = timed(lambda: removal.measure(*given, units=chosen) / prices)
    fast, short = timed(lambda: removal.estimate(parent, problem.task, problem.train) / prices)
    outputs = (layer.outputs[np.isin(layer.outputs, chosen)] for layer in wiring.layers)
    layers = [rank(exact[own], fast[own]) for own in outputs if len(own) > 2]
    weakest = [set(chosen[np.argsort(worth[chosen])[: round(WEAKEST * len(chosen))]]) for worth in (exact, fast)]
    shared = len(weakest[0] & weakest[1]) / len(weakest[0])
    whole = long * len(units) / len(chosen)
    return (
        f"{len(units):7d} {'' if len(units) == len(chosen) else '~'}{whole:.1f}".ljust(16)
        + f" {short:7.1f} {rank(exact[chosen], fast[chosen]):6.3f} {spread(layers)} {100 * shared:5.0f} %"
    )


def of_synapses(parent: Organism, problem: Problem, sensed: int) -> str:
    """How the sensitivity to synapses in batches compares with that of one example at a time, as a row."""
    heredity.SENSED = sensed
    exact, long = timed(lambda: heredity.feel(parent, problem.task, problem.train, together=1))
    fast, short = timed(lambda: heredity.feel(parent, problem.task, problem.train, together=heredity.SENSED_AT_ONCE))
    names = [layer.name for layer in parent.species.anatomy.wiring.layers]
    layers = [rank(np.ravel(exact[name]), np.ravel(fast[name])) for name in names]
    return f"{parent.synapses:9,d} {long:8.1f} {short:7.1f} {spread(layers)}"


def timed(measure: Callable[[], Any]) -> tuple[Any, float]:
    """What is measured, and the seconds that it took."""
    began = time.perf_counter()
    return jax.block_until_ready(measure()), time.perf_counter() - began


def rank(one: Any, other: Any) -> float:
    """Spearman's rho."""
    return float(spearmanr(one, other).statistic)


def spread(layers: list[float]) -> str:
    return f"{min(layers):.3f} … {max(layers):.3f}"


if __name__ == "__main__":
    main()
