"""The bench: a compacted network beside its ancestor in every form that runs here.

Each form of each network is written, opened by its engine, and scored on the test split; then all of them take turns on
the same batch, on the same number of cores. How much of what was saved became time is

    share = (1 - time / ancestor's time) / (1 - multiply-adds / ancestor's multiply-adds)

once for the multiply-adds of the stored arrays, which dense engines compute, and once for those of living synapses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from synevo.deploy.comparison import Found, Reference
from synevo.deploy.delivery import CALIBRATING
from synevo.deploy.engines.cores import confined
from synevo.deploy.engines.forms import FORMS, Opened, about, open_form
from synevo.deploy.interface import leaves_of
from synevo.deploy.reload import Reloaded, best_compacted
from synevo.errors import ExportError
from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.model.network import Network
from synevo.runs import compacting, measuring
from synevo.runs.documents import hash_of_compacted
from synevo.runs.measuring import Timing, describe
from synevo.runs.organisms import Context, batches, load_organism, prepare
from synevo.runs.rundir import RunDir
from synevo.tasks.task import InMemory, first

NETWORKS = ("ancestor", "masked", "compact")

SCORED = 10_000
"""The most examples of the test split that are scored."""

MOST_IN_C = 4_000_000
"""The most numbers of a network that are compiled: a C compiler takes some 300 bytes of memory for each."""

PATIENCE = 60.0
"""The seconds after which five rounds of timing are enough."""

Bench = dict[str, Any]
"""The result for a run, as a JSON object."""

_LESS = "Compact the run again, or name other forms with --forms."


@dataclass(frozen=True)
class _Entry:
    """A form of one of the networks: opened, scored and compared with its source."""

    form: str
    network: str
    opened: Opened
    found: Found


def bench(
    run: RunDir,
    *,
    threads: int,
    rounds: int,
    forms: Sequence[str] = tuple(FORMS),
    ancestor: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Return scores, differences, sizes and times of the best compacted network of a run in every form, as JSON.

    Forms that are not installed, or cannot hold a network of this kind, are listed under `left_out` with the reason.
    `tell` is called with each form before it is tried. `ancestor` is the name of the factory, where that has moved.

    Raises:
        RunError: if nothing is compacted yet, or files of the run are damaged.
        ExportError: if no form of the network runs.
    """
    context, generation = prepare(run.load_plan(), ancestor, initialised=False), best_compacted(run)
    round_to = run.load_compact(generation)[1]["architecture"].get("round_to", 1)
    organism = compacting.rounded(load_organism(run, context.species, generation), round_to)
    first_one = load_organism(run, context.species, 1)
    networks = {"ancestor": first_one.network, "masked": organism.whole, "compact": organism.network}
    entries, left_out = _open_all(
        context, networks, generation, round_to=round_to, threads=threads, forms=forms, tell=tell
    )
    if not entries:
        raise ExportError(
            f"No form of the network runs here: {'; '.join(one['reason'] for one in left_out)}", remedy=_LESS
        )
    tell(f"timing {len(entries)} networks in turns, on {threads} core{'s' if threads > 1 else ''}")
    times = {batch: _race(context, networks, entries, batch, threads, rounds) for batch in batches(context)}
    costs = _costs(first_one, organism)
    task = context.problem.task
    return {
        "run": run.name,
        "generation": generation,
        "round_to": round_to,
        "weights": hash_of_compacted(run, generation),
        "threads": threads,
        "batches": list(times),
        "score": {"name": task.name, "better": task.better},
        "examples": min(len(context.problem.test), SCORED),
        "multiply_adds": costs,
        "rows": [_row(entry, times, place, costs, threads) for place, entry in enumerate(entries)],
        "forms": [_form(name, entries, times, costs) for name in dict.fromkeys(entry.form for entry in entries)],
        "left_out": left_out,
        "machine": describe(),
    }


def _open_all(
    context: Context,
    networks: Mapping[str, Network],
    generation: int,
    *,
    round_to: Any,
    threads: int,
    forms: Sequence[str],
    tell: Callable[[str], None],
) -> tuple[list[_Entry], list[dict[str, str]]]:
    """Return every form of every network that runs here, and those that do not, with the reason."""
    document = {"generation": generation, **compacting.interface(context)}
    reloaded = {
        name: Reloaded(network, {**document, "round_to": round_to if name == "compact" else 1})
        for name, network in networks.items()
    }
    references: dict[str, Reference] = {}
    calibration: list[Any] = []
    problem, entries, left_out = context.problem, list[_Entry](), list[dict[str, str]]()
    examples = problem.test if len(problem.test) <= SCORED else InMemory(first(problem.test, SCORED))
    for form in forms:
        tell(FORMS[form].title)
        for name, one in reloaded.items():
            try:
                if FORMS[form].whole_numbers and not calibration:
                    calibration = leaves_of(one, problem.task, first(problem.train, CALIBRATING))
                _require_room(form, one)
                opened = open_form(form, one, threads=threads, calibration=calibration)
                if name not in references:
                    references[name] = Reference(one, problem.task)
                entries.append(_Entry(form, name, opened, references[name].beside(opened.run, examples)))
            except ExportError as error:
                left_out.append({"form": form, "title": FORMS[form].title, "network": name, "reason": error.problem})
    return entries, _together(left_out)


def _require_room(form: str, reloaded: Reloaded) -> None:
    """Raise ExportError if a network is too large for a C compiler."""
    numbers = sum(int(array.size) for array in reloaded.network.arrays.values())
    if FORMS[form].engine == "c" and numbers > MOST_IN_C:
        raise ExportError(f"{numbers:,} numbers are too many for a C compiler's memory.", remedy=_LESS)


def _together(left_out: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return what was left out, with one line for all networks of a form that lack the same."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for one in left_out:
        found.setdefault((one["form"], one["reason"]), []).append(one)
    return [
        {**same[0], "network": "all" if len(same) == len(NETWORKS) else ", ".join(one["network"] for one in same)}
        for same in found.values()
    ]


def _race(
    context: Context,
    networks: Mapping[str, Network],
    entries: Sequence[_Entry],
    batch: int,
    threads: int,
    rounds: int,
) -> dict[str, Timing]:
    """Return the times of all entries, by their place, on one batch of test examples."""
    document = {"generation": 1, **compacting.interface(context)}
    examples = first(context.problem.test, batch)
    leaves = [
        np.resize(leaf, (batch, *leaf.shape[1:]))
        for leaf in leaves_of(Reloaded(networks["compact"], document), context.problem.task, examples)
    ]
    calls = {str(place): partial(entry.opened.run, *leaves) for place, entry in enumerate(entries)}
    for call in calls.values():
        call()  # what is compiled at the first call is compiled on all cores
    with confined(threads):
        return measuring.race(calls, rounds=rounds, patience=PATIENCE)


def _costs(first_one: Organism, organism: Organism) -> dict[str, dict[str, int]]:
    """Return the multiply-adds of each network for one example: of its stored arrays, and of living synapses."""
    before, after = census.count(first_one), census.count(organism)
    living = sum(
        layer.synapses * layer.multiply_adds // layer.stored_weights for layer in after.layers if layer.stored_weights
    )
    return {
        "ancestor": {"living": before.multiply_adds, "stored": before.multiply_adds},
        "masked": {"living": living, "stored": before.multiply_adds},
        "compact": {"living": living, "stored": after.multiply_adds},
    }


def _row(
    entry: _Entry, times: Mapping[int, Mapping[str, Timing]], place: int, costs: Mapping[str, Any], threads: int
) -> dict[str, Any]:
    engine = about(FORMS[entry.form].engine, threads)
    difference, largest = max(entry.found.differences, key=lambda pair: pair[0] / max(pair[1], 1e-6))
    return {
        "form": entry.form,
        "title": FORMS[entry.form].title,
        "network": entry.network,
        "engine": engine["words"],
        "threads": engine["threads"],
        "bytes": entry.opened.size,
        "score": entry.found.score,
        "source_score": entry.found.source_score,
        "max_difference": difference,
        "largest_output": largest,
        "living_multiply_adds": costs[entry.network]["living"],
        "stored_multiply_adds": costs[entry.network]["stored"],
        "latency_ms": {str(batch): asdict(timings[str(place)]) for batch, timings in times.items()},
    }


def _form(
    name: str, entries: Sequence[_Entry], times: Mapping[int, Mapping[str, Timing]], costs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return by batch how many times faster the compact network of a form is, and the shares that became time."""
    place = {entry.network: str(number) for number, entry in enumerate(entries) if entry.form == name}
    found: dict[str, Any] = {"form": name, "title": FORMS[name].title, "faster": {}, "share": {}}
    if {"ancestor", "compact"} <= place.keys():
        for batch, timings in times.items():
            before, after = (timings[place[who]].median for who in ("ancestor", "compact"))
            found["faster"][str(batch)] = before / after
            found["share"][str(batch)] = {kind: share(before, after, costs, kind) for kind in ("stored", "living")}
    return found


def share(before: float, after: float, costs: Mapping[str, Mapping[str, int]], kind: str) -> float | None:
    """Return which share of the saved multiply-adds of a `kind` became time; None where none were saved.

    `before` and `after` are the times of the ancestor and of the compact network, in the same units.
    """
    saved = 1 - costs["compact"][kind] / costs["ancestor"][kind]
    return (1 - after / before) / saved if saved > 0 else None
