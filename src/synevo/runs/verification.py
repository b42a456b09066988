"""Verification computes every number of the report again from the files.

The quick part reads the files and compares hashes. The full one also loads the networks, counts and scores them again,
and repeats the proof of every compacted network.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from synevo.errors import SynevoError
from synevo.files.writing import read_checked
from synevo.lineage.individuals import Lineage
from synevo.runs.documents import exported, load_prices, prices_file, require_export, require_machine
from synevo.runs.entries import Entry, basis_in
from synevo.runs.rundir import RunDir


@dataclass(frozen=True)
class Check:
    """The result of a check: its subject, True if it holds, and the finding if it does not."""

    subject: str
    holds: bool
    found: str = ""


def verify_files(run: RunDir) -> Iterator[Check]:
    """Check plan, machine, lineage, exports, and the hashes of the files of every individual and compacted network."""
    first = _attempt("plan and lineage", lambda: run.check_plan(run.load_plan()))
    yield first
    if not first.holds:
        return
    entries, lineage = run.entries(), run.load_lineage()
    yield from _verify_machine(run, entries)
    yield from _verify_lineage(run, lineage)
    for individual, entry in zip(lineage.individuals, entries, strict=True):
        if individual.counts is not None:
            yield _attempt(f"generation {individual.label}: files", partial(run.load_individual, individual.name))
        elif entry["files"]:
            yield _attempt(f"generation {individual.label}: files", partial(run.require_files, entry))
    if prices_file(run).exists():
        yield _attempt("prices of filters", partial(load_prices, run))
    for generation in run.compacted():
        yield _attempt(f"compacted generation {generation}: files", partial(run.load_compact, generation))
        yield _attempt(f"compacted generation {generation}: predictions", partial(run.load_predictions, generation))
    for path in exported(run):
        yield _attempt(f"export {path.name}", partial(require_export, run, path))


def _verify_machine(run: RunDir, entries: list[Entry]) -> Iterator[Check]:
    """Check that machine.json describes a machine, and the one on which the ancestor was made."""
    yield _attempt("machine", partial(require_machine, run))
    if not entries:
        return
    sha = entries[0].get("machine")
    if sha is None:
        yield Check("machine: not bound to the lineage, which an older version began", holds=True)
    else:
        yield _attempt("machine: the ancestor's", partial(read_checked, run.path / "machine.json", sha))


def _verify_lineage(run: RunDir, lineage: Lineage) -> Iterator[Check]:
    """Check that the lineage is whole: it names all that is there, each once, and parents before their offspring."""
    unlisted = run.unlisted()
    missing = f"lineage.jsonl does not name {', '.join(unlisted)}"
    yield Check("lineage: every individual is in it", not unlisted, missing)
    orphans = [number for number in run.compacted() if not lineage.brood(number)]
    missing = f"lineage.jsonl does not name {', '.join(map(str, orphans))}"
    yield Check("lineage: every compacted generation is in it", not orphans, missing)
    wrong = _out_of_order(lineage)
    yield Check("lineage: each individual is in it once, after its parents", wrong is None, wrong or "")


def _out_of_order(lineage: Lineage) -> str | None:
    """Return in words the first line that does not follow from those before it; None if each does."""
    known: set[str] = set()
    last = 0
    for line, individual in enumerate(lineage.individuals, 1):
        if individual.name in known:
            return f"line {line} names {individual.name} again"
        if individual.generation not in (last, last + 1) or individual.generation < 1:
            return f"line {line} is of generation {individual.generation}, after generation {last}"
        before = Lineage(lineage.individuals[: line - 1])
        if unknown := set(before.parents_of(individual)) - known:
            return f"line {line} names parents that are not before it: {', '.join(sorted(unknown))}"
        known, last = known | {individual.name}, individual.generation
    return None


def verify_numbers(run: RunDir, ancestor: str | None = None) -> Iterator[Check]:
    """Check counts, scores, heredity and proofs of a run; its files must be undamaged.

    `ancestor` is the name of the ancestor's factory, where that has moved.
    """
    from synevo import growing  # noqa: PLC0415  (loads JAX, which the quick part does without)
    from synevo.genetics import census  # noqa: PLC0415
    from synevo.runs import organisms  # noqa: PLC0415

    context, lineage = organisms.prepare(run.load_plan(), ancestor), run.load_lineage()
    if basis := basis_in(run.entries()):
        again = organisms.basis_of(context)
        yield Check("what the scores rest on", again == basis, f"found again: {asdict(again)}")
    for individual in lineage.individuals:
        if individual.counts is None:
            continue
        name = f"generation {individual.label}"
        organism = organisms.load_organism(run, context.species, individual.name)
        counts, scores = census.count(organism), growing.score(organism, context.problem)
        yield Check(f"{name}: counts", counts == individual.counts, f"recounted {counts.synapses} synapses")
        yield Check(f"{name}: scores", scores == individual.scores, f"scored again: {asdict(scores)}")
        parents = lineage.parents_of(individual)
        if parents and not context.plan.evolution.mutation:
            held = [organisms.load_organism(run, context.species, parent).masks for parent in parents]
            together = {layer: np.logical_or.reduce([masks[layer] for masks in held]) for layer in organism.masks}
            inherited = all((together[layer] | ~mask).all() for layer, mask in organism.masks.items())
            whose = "the parent's" if len(parents) == 1 else f"those of {' and '.join(parents)}"
            yield Check(f"{name}: synapses are a subset of {whose}", inherited)
    for generation in run.compacted():
        yield from _verify_compact(run, context, generation)


def _verify_compact(run: RunDir, context: Any, generation: int) -> Iterator[Check]:
    from synevo.runs import compacting, organisms  # noqa: PLC0415

    name = f"compacted generation {generation}"
    weights, documents = run.load_compact(generation)
    organism = organisms.load_organism(run, context.species, generation)
    organism = compacting.rounded(organism, documents["architecture"].get("round_to", 1))
    own, _ = organisms.to_tensors(organism)
    same = all(np.array_equal(weights[array], own[array]) for array in own)
    yield Check(f"{name}: weights are the individual's", same)
    yield from _verify_predictions(run, context, generation, organism)
    proof = asdict(compacting.prove(context, organism))
    yield Check(f"{name}: proof", proof == documents["proof"], f"proven again: {proof}")


def _verify_predictions(run: RunDir, context: Any, generation: int, organism: Any) -> Iterator[Check]:
    from synevo.runs import answers, organisms  # noqa: PLC0415

    said = run.load_predictions(generation)
    if said is None:
        return  # an older version compacted it, or the task has no classes
    again = answers.predictions(context, organisms.load_organism(run, context.species, 1), organism) or {}
    same = set(said) == set(again) and all(np.array_equal(said[name], again[name]) for name in again)
    yield Check(f"compacted generation {generation}: predictions said again", same)


def _attempt(subject: str, load: Callable[[], object]) -> Check:
    try:
        load()
    except SynevoError as error:
        return Check(subject, holds=False, found=error.problem)
    except OSError as error:
        return Check(subject, holds=False, found=f"{error.strerror}: {error.filename}")
    return Check(subject, holds=True)
