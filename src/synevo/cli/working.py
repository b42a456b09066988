"""Work on runs: the commands train-ancestor, adopt, evolve and compact, after their arguments are read.

JAX is imported within the functions, after the plans are checked, so that mistakes are reported at once.
"""

import functools
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synevo.cli.live.progress import follow
from synevo.cli.opening import open_run, open_runs, require_no_fewer, what_changed
from synevo.cli.options import Options
from synevo.cli.replicates import check_seeds, in_turn, parse_seeds, replicate, side_by_side
from synevo.cli.screens import console, hushed, say
from synevo.errors import DivergenceError, PlanError, RunError
from synevo.lineage import course
from synevo.lineage.happenings import Happening
from synevo.lineage.individuals import Lineage
from synevo.plan.compose import change, compose, flatten
from synevo.plan.fields import Plan
from synevo.report.numerals import number, times
from synevo.report.recipe import origin
from synevo.report.summary import compacted
from synevo.report.verdict import engine_of, speed_in_words
from synevo.runs.rundir import RunDir


def plan_runs(
    run: Path | None, seeds: str | None, options: Options, *, preset: str | None, sets: Sequence[str]
) -> dict[RunDir, Plan]:
    """Return the plan of every run that was asked for; raise PlanError if the options contradict each other."""
    plan = compose(preset=preset, options=options, sets=sets)
    stem = run or Path("runs") / f"{Path(plan.data.dataset).stem}-{plan.ancestor.name.replace(':', '.')}"
    if seeds is None:
        return {RunDir(stem): plan}
    wanted = parse_seeds(seeds)
    plans = [compose(preset=preset, options={**options, "seed": seed}, sets=sets) for seed in wanted]
    check_seeds(wanted, [one.seed for one in plans], options.get("seed"))
    return {replicate(stem, seed): plan for seed, plan in zip(wanted, plans, strict=True)}


def train_ancestors(plans: Mapping[RunDir, Plan], *, asked: bool, where: Options, tensorboard: bool) -> None:
    """Train the ancestor of every run, or go on training it, then on the devices of the options `where`.

    Raises:
        PlanError: if it would not be trained at all.
        RunError: if a plan was `asked` for, and a run was started with another one.
    """
    if any(plan.ancestor_training.epochs == 0 for plan in plans.values()):
        raise PlanError(
            "ancestor_training.epochs is 0: the ancestor would not be trained.",
            remedy="`synevo adopt` starts a run with a network that is trained already.",
        )
    _train(plans, None, asked=asked, where=where, tensorboard=tensorboard)


def adopt_ancestors(plans: Mapping[RunDir, Plan], expect: Path | None, *, asked: bool, tensorboard: bool) -> None:
    """Adopt the ancestor of every run, with the outputs to `expect` of it; errors as in `train_ancestors`."""
    _train(plans, expect, asked=asked, where={}, tensorboard=tensorboard)
    for target in plans:
        adoption = target.load_lineage().ancestor.adoption
        if adoption is not None:
            say(origin(adoption))


def _train(
    plans: Mapping[RunDir, Plan], expect: Path | None, *, asked: bool, where: Options, tensorboard: bool
) -> None:
    """Train the ancestors that are not trained yet, each from the weights of its plan."""

    def train(target: RunDir) -> Iterator[Happening]:
        from synevo.deploy.engines.stopwatch import EngineStopwatch
        from synevo.runs import stages

        plan = plans[target]
        plan = _saved_plan(target, plan, asked=asked, where=where) if target.exists() else plan
        return stages.train_ancestor(target, plan, expect=expect, stopwatch=EngineStopwatch(plan.evolution.engine))

    _start(plans, train, tensorboard=tensorboard)


def origin_of(run: Path, *, replicated: bool) -> Callable[[Plan], Path]:
    """Return a function from a plan to the run of its ancestor: `run`, or if `replicated` its run with that seed."""
    return lambda plan: replicate(run, plan.seed).path if replicated else run


def take_ancestors(
    plans: Mapping[RunDir, Plan], origin: Callable[[Plan], Path], *, seeded: bool, tensorboard: bool
) -> None:
    """Start every run with the trained ancestor of its `origin`.

    Raises:
        RunError: if an origin is no run, or a seed was asked for (`seeded`) and the origin has another.
    """

    def take(target: RunDir) -> Iterator[Happening]:
        from synevo.runs import stages

        plan = plans[target]
        source = open_run(origin(plan))
        if seeded:
            _check_seed(source, plan.seed)
        return stages.take_ancestor(target, plan, source)

    _start(plans, take, tensorboard=tensorboard)


def _check_seed(source: RunDir, wanted: int) -> None:
    seed = source.load_plan().seed
    if seed != wanted:
        raise RunError(
            f"The ancestor of {source.path} has seed {seed}, not {wanted}.",
            remedy="Leave the seed out, or name a run that has it.",
        )


def _start(plans: Mapping[RunDir, Plan], stage: Callable[[RunDir], Iterator[Happening]], *, tensorboard: bool) -> None:
    """Give each run its ancestor, one run after the other, and print the next command."""

    def begin(target: RunDir) -> None:
        record = _recorder(target, wanted=tensorboard)  # before the stage loads JAX
        if follow(record(stage(target)), console(stderr=True), generations=1) == 0:
            say(f"{target.path} has its ancestor already.", err=True)

    in_turn(list(plans), begin)
    names = " ".join(shlex.quote(str(target.path)) for target in plans)
    ready = f"Ancestor of {names} is" if len(plans) == 1 else f"The ancestors of {len(plans)} runs are"
    say(f"{ready} ready. Next: synevo evolve {names}", err=True)


def evolve(
    paths: list[Path] | None,
    options: Options,
    sets: Sequence[str],
    *,
    tensorboard: bool,
    ancestor: str | None,
    on: str | None,
) -> None:
    """Evolve the runs at these paths, or the latest, one after the other; `ancestor` names a factory that has moved.

    Offspring that do not depend on each other are trained side by side `on` devices or ray, and runs on ray.

    Raises:
        DivergenceError: if the last generation of a run failed.
        RunError: if a path is no run.
    """
    side = _side(on)
    work = functools.partial(_evolve, options=options, sets=sets, tensorboard=tensorboard, ancestor=ancestor)
    several = side_by_side if side == "ray" and len(paths or ()) > 1 else in_turn
    several(open_runs(paths), functools.partial(work, side=None if several is side_by_side else side))


def _side(on: str | None) -> Any:
    """Return where work is done side by side; raise SynevoError where that cannot be."""
    if on not in (None, "devices", "ray"):
        raise PlanError(f"--on {on}: work is done side by side on devices or on ray.", remedy="Write one of them.")
    if on == "ray":
        from synevo.runs.several import nodes

        nodes.require()
    return on


def _evolve(
    target: RunDir, *, options: Options, sets: Sequence[str], tensorboard: bool, ancestor: str | None, side: Any
) -> None:
    """Evolve one run; raise DivergenceError if its last generation failed."""
    before = target.load_plan()
    plan = change(before, options=options, sets=sets)
    lineage = target.load_lineage()
    require_no_fewer(target, lineage, before, plan)
    record = _recorder(target, wanted=tensorboard)
    from synevo.deploy.engines.stopwatch import EngineStopwatch
    from synevo.runs import stages

    try:
        stopwatch = EngineStopwatch(plan.evolution.engine)
        happenings = record(stages.evolve(target, plan, ancestor=ancestor, stopwatch=stopwatch, side_by_side=side))
        limits = plan.evolution
        grown = follow(happenings, console(stderr=True), generations=limits.generations, lineage=lineage, limits=limits)
    finally:
        for line in what_changed(target, before):
            say(line, err=True)
    lineage = target.load_lineage()
    state = course.status(lineage, plan)
    if state == "failed":
        raise DivergenceError(
            f"Generation {lineage.last.label} failed. {lineage.last.problem}",
            remedy="The generations before it are whole.",
        )
    _say_where_it_ends(target, lineage, plan, state, grown=grown)


def _say_where_it_ends(target: RunDir, lineage: Lineage, plan: Plan, state: str, *, grown: int) -> None:
    """Print how far a lineage has come, and the next commands."""
    last, run = lineage.last.generation, shlex.quote(str(target.path))
    if last == 1:
        say(f"{target.path} has its ancestor, which is generation 1, and its plan asks for no more.", err=True)
        say(f"Next: synevo evolve {run} --generations 13, or another number from 2 on", err=True)
        return
    left = "" if grown else ": nothing is left to evolve"
    say(f"The lineage of {target.path} is {state} at generation {last}{left}.", err=True)
    if state == "finished" and last >= plan.evolution.generations and not grown:
        say(f"To go on: synevo evolve {run} --generations {last + 1}, or more", err=True)
    say(f"Next: synevo compact {run}; synevo report {run}", err=True)


def compact(
    paths: list[Path] | None, generation: int | None, *, round_to: str, options: Options, ancestor: str | None
) -> None:
    """Compact the runs at these paths, or the latest, one after the other.

    Raises:
        PlanError: if `round_to` is neither auto, none, nor a number.
        RunError: if a path is no run.
    """
    multiple = _multiple(round_to)
    in_turn(
        open_runs(paths),
        lambda target: _compact(target, generation, round_to=multiple, options=options, ancestor=ancestor),
    )


def _multiple(text: str) -> int | None:
    """Return the multiple that widths are rounded to: 1 for none, None for auto."""
    if text in ("auto", "none"):
        return None if text == "auto" else 1
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise PlanError(
        f"--round-to {text}: this is no width.", remedy="Write auto, none, or a number of filters such as 4, 8 or 16."
    )


def _compact(
    target: RunDir, generation: int | None, *, round_to: int | None, options: Options, ancestor: str | None
) -> None:
    """Compact one run and print the result."""
    plan = change(target.load_plan(), options=options)
    from synevo.deploy.engines.stopwatch import EngineStopwatch
    from synevo.runs import compacting

    stopwatch = EngineStopwatch(plan.evolution.engine)
    documents = compacting.compact(
        target, plan, generation=generation, round_to=round_to, ancestor=ancestor, stopwatch=stopwatch
    )
    chosen, proof = documents["architecture"]["generation"], documents["proof"]
    units = documents["architecture"]["units"]
    if units["alive"] == units["all"]:
        say(f"Nothing was removed: all {units['all']} units of generation {chosen} live. It is written whole.")
    say(f"Generation {chosen} is compacted and proven: {target.compact_folder(chosen)}")
    for line in (*_achieved(target, chosen), *_widths(documents)):
        say(line)
    say(
        f"The outputs differ by at most {proof['max_difference']:.1e} on {proof['examples']} real and "
        f"{proof['random_examples']} random examples{_agreement(proof['top1_agreement'])}."
    )
    run = shlex.quote(str(target.path))
    say(f"Next: synevo report {run} --html; synevo export {run} --to onnx", err=True)


def _achieved(target: RunDir, generation: int) -> list[str]:
    """Return in words how much smaller and faster the compacted network of a generation is than the ancestor."""
    lineage = target.load_lineage()
    made, _ = compacted(target, lineage.head(generation), lineage)
    if made is None or "problem" in made:
        return []
    fields = {"bytes on disk": "bytes", "multiply-adds": "multiply_adds", "weights stored": "stored_weights"}
    before = {**made["ancestor"], "stored_weights": made["ancestor"]["synapses"]}
    sizes = [
        f"{number(before[field])} → {number(made[field])} {name} ({times(before[field], made[field])} fewer)"
        for name, field in fields.items()
    ]
    latency = made["measures"]["latency_ms"]
    speeds = [
        f"{speed_in_words(latency['ancestor'][batch], latency['compact'][batch])} at batch {batch}"
        for batch in latency["ancestor"]
    ]
    return [f"{'; '.join(sizes)}.", f"In {engine_of(made['measures'])} on this machine: {', '.join(speeds)}."]


def _widths(documents: Mapping[str, Any]) -> list[str]:
    """Return in words which widths were tried, and which were kept."""
    tried, kept = documents["measures"]["widths"], documents["architecture"]["round_to"]
    if not tried:
        return []
    shares = {one["round_to"]: one["share"] for one in tried if isinstance(one["round_to"], int)}
    beside = [f"{share:.2f} with multiples of {multiple}" for multiple, share in shares.items() if multiple > 1]
    if isinstance(kept, int):
        chosen = "as they are" if kept == 1 else f"multiples of {kept}, dead filters as padding"
    else:
        own = ", ".join(f"{multiple} in {layer}" for layer, multiple in kept.items())
        chosen = f"multiples of {own}, dead filters as padding"
        beside.insert(0, f"{next(one['share'] for one in tried if one['round_to'] == kept):.2f} with these")
    return [
        f"Widths: {chosen}. Time relative to the widths as they are: {', '.join(beside)}. --round-to chooses others."
    ]


def _saved_plan(run: RunDir, plan: Plan, *, asked: bool, where: Options) -> Plan:
    """Return the plan of a run, on the devices of the options `where`; raise RunError if another one was asked for."""
    from synevo.runs import organisms

    saved = change(run.load_plan(), options=where)
    if asked:
        before, after = flatten(saved), flatten(organisms.resolve(plan))
        different = [
            f"{name} is {before[name]!r}, not {after[name]!r}" for name in before if before[name] != after[name]
        ]
        if different:
            raise RunError(
                f"{run.path} was started with another plan: {'; '.join(different)}.",
                remedy="Name a new run with --run DIR, or leave the options out to go on with this one.",
            )
    return saved


def _recorder(run: RunDir, *, wanted: bool) -> Callable[[Iterator[Happening]], Iterator[Happening]]:
    """Return a function that passes on happenings, and if `wanted` writes them to the run's event file."""
    if not wanted or hushed():
        return lambda happenings: happenings
    from synevo.runs import curves

    curves.require()
    say(f"To see the curves: tensorboard --logdir {run.path}", err=True)
    return functools.partial(curves.record, run)


def _agreement(share: float | None) -> str:
    return "" if share is None else f"; top-1 agreement {100 * share:.2f} %"
