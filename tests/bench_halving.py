"""Does selection among candidates pay? Successive halving beside the same number of epochs spent on one offspring.

For each network, trained on `--dataset` for `--epochs` epochs, and each of `--seeds`: `--candidates` offspring are
synthesised from it, with the filters that `sensitivity` favours and half of the parent's synapses, and all of them are
trained in all rungs of successive halving (`synevo.growing`), those too that it would have dropped. So one training
tells

    halved  the candidate that it selects: its scores, in %, and the epochs of all that it trains
    best    the one that is best on validation in the end: what selection could have found
    rho     Spearman's rho over all candidates, of validation after each rung and in the end

Beside it, `alone` is the first candidate, trained once, for all the epochs that halving has.
`--dataset digits --networks lenet5-caffe --candidates 2 --training 2 --epochs 1 --seeds 0` is a trial of it.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

from scipy.stats import spearmanr

from synevo import evolution, keys
from synevo.genetics.archive import Birth, Memory
from synevo.growing import Event, Growing, grow, select
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Individual, Rung
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.runs.organisms import prepare, resolve

NETWORKS = ("lenet5-caffe", "resnet20")
DATASETS = {"lenet5-caffe": "mnist", "resnet20": "cifar10"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help=", ".join(NETWORKS))
    parser.add_argument("--dataset", help="one for all networks [default: mnist for LeNets, cifar10 for ResNets]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--candidates", type=int, default=8, help="a power of two")
    parser.add_argument("--training", type=int, default=8, help="epochs of a whole training: a multiple of candidates")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the ancestor")
    options = parser.parse_args()
    print(f"{'network':14s} {'seed':>4s} {'':7s} {'epochs':>6s} {'valid':>6s} {'test':>6s}   rho by rung")
    for network in options.networks:
        dataset = options.dataset or DATASETS.get(network, "cifar10")
        for seed in options.seeds:
            plan = plan_of(network, dataset, seed, options.candidates, options.training, options.epochs)
            for row in compared(plan):
                print(f"{network:14s} {seed:4d} {row}", flush=True)


def plan_of(network: str, dataset: str, seed: int, candidates: int, training: int, epochs: int) -> Plan:
    """The plan of an ancestor and one generation of halving."""
    sets = [f"ancestor.name={network}", f"data.dataset={dataset}", f"seed={seed}", f"ancestor_training.epochs={epochs}"]
    sets += [f"training.epochs={training}", f"evolution.halving={candidates}", "evolution.generations=2"]
    sets += ["encoding.cluster=filter", "encoding.heredity=sensitivity", "environment.cluster_scope=network"]
    sets += ["environment.synapse_scope=network", "environment.keep_clusters=0.8", "environment.keep_synapses=0.5"]
    return resolve(compose(sets=sets))


def compared(plan: Plan) -> Sequence[str]:
    """Halving and what it could have found, and the same number of epochs for one offspring, as rows."""
    context = prepare(plan)
    problem, key = context.problem, keys.root(plan.seed)
    births = evolution.trained_ancestor(key, context.species, problem, plan)
    ancestor = next(event for event in births if isinstance(event, Birth))
    assert ancestor.organism is not None, "its training diverged"
    archive = Memory()
    archive.keep(ancestor)
    inheritance = evolution.from_ancestor(key, ancestor.organism, problem, plan)
    parents = {ancestor.individual.name: ancestor.organism}
    place = Conception(2, 1, 1.0)
    candidates = evolution.candidates_for(key, parents, problem, plan, place, inheritance, archive)
    growing = Growing(place, problem, plan.training, 0, tuple(parents), inheritance.lessons)
    halved = born(select(candidates, growing, resumption=archive.resumption))
    full = born(select(candidates, growing, resumption=archive.resumption, drop=False))
    longer = plan.training.model_copy(update={"epochs": halved.epochs})
    alone = born(grow(*candidates[0], replace(growing, training=longer), resume=None))
    found = " ".join(f"{rho:6.3f}" for rho in agreements(full.rungs))
    return [
        f"{'halved':7s} {told(halved)}",
        f"{'alone':7s} {told(alone)}",
        f"{'best':7s} {told(full)}   {found}",
    ]


def born(events: Iterator[Event]) -> Individual:
    """The individual in which a training ends."""
    return next(event.individual for event in events if isinstance(event, Birth))


def told(one: Individual) -> str:
    """The epochs of an individual and its scores in %; a dash for one whose training diverged."""
    scores = [one.scores.validation, one.scores.test] if one.scores else []
    return f"{one.epochs:6d} " + (" ".join(f"{100 * score:6.2f}" for score in scores) or "diverged")


def agreements(rungs: Sequence[Rung]) -> Iterator[float]:
    """Spearman's rho of validation after each rung but the last, and after the last, over all that have both."""
    last = dict(zip(rungs[-1].candidates, rungs[-1].scores, strict=True))
    for rung in rungs[:-1]:
        both = [(score, last.get(one)) for one, score in zip(rung.candidates, rung.scores, strict=True)]
        yield float(spearmanr([pair for pair in both if None not in pair]).statistic)


if __name__ == "__main__":
    main()
