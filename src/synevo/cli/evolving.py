"""The commands that make a run: train-ancestor, evolve, compact.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from synevo.cli.looking import complete_run, open_run, open_runs
from synevo.errors import DivergenceError, RunError

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Any field of the plan, as listed by `synevo fields`; repeatable."
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="DIR", help="Folder of prepared TFDS data sets [env: TFDS_DATA_DIR]."),
]
Runs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN",
        help="Run directories, worked on one after the other; the latest run where none is given.",
        show_default=False,
        autocompletion=complete_run,
    ),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Also write the curves to RUN/tensorboard as they grow, for TensorBoard.")
]


def train_ancestor(
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory [default: runs/DATASET-ANCESTOR].")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="digits, a TFDS name, an .npz file or a folder of class folders.", show_default=False),
    ] = None,
    ancestor: Annotated[
        str | None,
        typer.Option(
            help="The network of generation 1, H_1: a built-in name or package.module:factory.", show_default=False
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Where the plan starts from, as listed by `synevo presets`.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The only source of randomness.", show_default=False)] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Replicates: 0..4 or 0,2,5 makes a run directory a seed, RUN-0 to RUN-4, alike but for the seed.",
            show_default=False,
        ),
    ] = None,
    ancestor_of: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Take the trained ancestor of another run, with its data and its seed; with --seeds, of RUN-0, ….",
        ),
    ] = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Train the ancestor: generation 1 of a new run, or go on training it."""
    from synevo.cli.replicates import check_seeds, in_turn, parse_seeds, replicate
    from synevo.plan.compose import compose
    from synevo.runs.rundir import RunDir

    options = {"data.dataset": dataset, "ancestor.name": ancestor, "seed": seed, "data.data_dir": data_dir}
    plan = compose(preset=preset, options=options, sets=sets or ())
    stem = run or Path("runs") / f"{Path(plan.data.dataset).stem}-{plan.ancestor.name.replace(':', '.')}"
    plans = {RunDir(stem): plan}
    if seeds is not None:
        plans = {
            replicate(stem, number): compose(preset=preset, options={**options, "seed": number}, sets=sets or ())
            for number in parse_seeds(seeds)
        }
        check_seeds(parse_seeds(seeds), [one.seed for one in plans.values()], seed)
    seeded = seed is not None or seeds is not None
    asked = seeded or any([dataset, ancestor, preset, sets])

    def begin(target: RunDir) -> None:
        plan, origin = plans[target], ancestor_of
        if ancestor_of is not None and seeds is not None:
            origin = replicate(ancestor_of, plan.seed).path
        if origin is not None:
            ancestry = _adoption(target, plan, open_run(origin), seeded=seeded)
        else:
            ancestry = _training(target, plan, asked=asked)
        record = _recorder(target, wanted=tensorboard)
        _follow(record(ancestry), generations=1, nothing=f"{target.path} has its ancestor already.")

    in_turn(list(plans), begin)
    names = " ".join(shlex.quote(str(target.path)) for target in plans)
    ready = f"Ancestor of {names} is" if len(plans) == 1 else f"The ancestors of {len(plans)} runs are"
    typer.echo(f"{ready} ready. Next: synevo evolve {names}", err=True)


def _training(target: Any, plan: Any, *, asked: bool) -> Any:
    """What happens while the ancestor of a run is trained."""
    from synevo.runs import stages

    return stages.train_ancestor(target, _saved_plan(target, plan, asked=asked) if target.exists() else plan)


def _adoption(target: Any, plan: Any, origin: Any, *, seeded: bool) -> Any:
    """What happens while a run adopts the ancestor of `origin`; RunError where that has not the seed that was asked."""
    from synevo.runs import stages

    seed = origin.load_plan().seed
    if seeded and seed != plan.seed:
        raise RunError(
            f"The ancestor of {origin.path} has seed {seed}, not {plan.seed}.",
            remedy="Leave the seed out, or name a run that has it.",
        )
    return stages.adopt_ancestor(target, plan, origin)


def evolve(
    runs: Runs = None,
    generations: Annotated[
        int | None, typer.Option(min=1, help="The generation g to reach; the ancestor is 1.", show_default=False)
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Stop this far below the ancestor's validation accuracy.", show_default=False),
    ] = None,
    keep_synapses: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE[,SHARE…]",
            help="R^s: share of the parent's synapses expected to survive, or one a generation.",
            show_default=False,
        ),
    ] = None,
    keep_clusters: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE[,SHARE…]",
            help="R^c: share of the parent's clusters expected to survive, or one a generation.",
            show_default=False,
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="c: what lives or dies together, kernel or filter.", show_default=False)
    ] = None,
    population: Annotated[
        int | None,
        typer.Option(help="Offspring a generation; the best on validation is the parent.", show_default=False),
    ] = None,
    parents: Annotated[
        int | None,
        typer.Option(help="m: so many of the best of a generation are mated for the next one.", show_default=False),
    ] = None,
    adaptive: Annotated[
        bool | None,
        typer.Option(
            "--adaptive/--constant",
            help="Press harder while accuracy holds, and half as hard where it does not.",
            show_default=False,
        ),
    ] = None,
    target_synapses: Annotated[
        int | None, typer.Option(help="Stop once so few synapses are left.", show_default=False)
    ] = None,
    target_macs: Annotated[
        int | None, typer.Option(help="Stop once an image costs so few multiply-adds.", show_default=False)
    ] = None,
    target_kb: Annotated[
        float | None, typer.Option(help="Stop once the weights take so few kilobytes.", show_default=False)
    ] = None,
    target_latency: Annotated[
        float | None, typer.Option(help="Stop once an image takes so few milliseconds.", show_default=False)
    ] = None,
    heredity: Annotated[
        str | None,
        typer.Option(
            help="Who survives: by cluster (the paper), synapse, magnitude, taylor, removal, sensitivity, random, "
            "shuffled or scratch.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Evolve runs to a generation: synthesise, compact, train and score one offspring after the other."""
    from synevo.cli.replicates import in_turn

    options = {
        "evolution.generations": generations,
        "evolution.max_drop": max_drop,
        "environment.keep_synapses": _shares(keep_synapses),
        "environment.keep_clusters": _shares(keep_clusters),
        "encoding.cluster": cluster,
        "encoding.heredity": heredity,
        "evolution.population": population,
        "evolution.parents": parents,
        "evolution.adaptive": adaptive,
        "evolution.target_synapses": target_synapses,
        "evolution.target_macs": target_macs,
        "evolution.target_kb": target_kb,
        "evolution.target_latency": target_latency,
        "data.data_dir": data_dir,
    }
    in_turn(open_runs(runs), lambda target: _evolve(target, options, sets or (), tensorboard=tensorboard))


def _evolve(target: Any, options: dict[str, Any], sets: Sequence[str], *, tensorboard: bool) -> None:
    """Evolve one run; DivergenceError where its last generation failed."""
    from synevo.lineage import course
    from synevo.plan.compose import change

    plan = change(target.load_plan(), options=options, sets=sets)
    record = _recorder(target, wanted=tensorboard)
    from synevo.runs import stages

    _follow(
        record(stages.evolve(target, plan)),
        generations=plan.evolution.generations,
        nothing=f"{target.path} has nothing left to evolve.",
        lineage=target.load_lineage(),
    )
    lineage = target.load_lineage()
    state = course.state(lineage, plan)
    if state == "failed":
        raise DivergenceError(
            f"Generation {lineage.last.label} failed. {lineage.last.problem}",
            remedy="The generations before it are whole.",
        )
    typer.echo(f"The lineage of {target.path} is {state} at generation {lineage.last.generation}.", err=True)
    typer.echo(f"Next: synevo compact {target.path}; synevo report {target.path}", err=True)


def compact(
    runs: Runs = None,
    generation: Annotated[
        int | None,
        typer.Option(min=1, help="Which generation g [default: the best within the budget].", show_default=False),
    ] = None,
    round_to: Annotated[
        int, typer.Option(min=1, help="Keep dead filters until each layer has a multiple of these.")
    ] = 1,
    data_dir: DataDir = None,
) -> None:
    """Write the best network physically smaller, proven equal to the masked one and timed beside its ancestor."""
    from synevo.cli.replicates import in_turn

    def write(target: Any) -> None:
        _compact(target, generation, round_to=round_to, data_dir=data_dir)

    in_turn(open_runs(runs), write)


def _compact(target: Any, generation: int | None, *, round_to: int, data_dir: str | None) -> None:
    """Compact one run and say how that ended."""
    from synevo.plan.compose import change

    plan = change(target.load_plan(), options={"data.data_dir": data_dir})
    from synevo.runs import compacting

    documents = compacting.compact(target, plan, generation=generation, round_to=round_to)
    number, proof = documents["architecture"]["generation"], documents["proof"]
    units = documents["architecture"]["units"]
    if units["alive"] == units["all"]:
        typer.echo(f"Nothing was removed: all {units['all']} units of generation {number} live. It is written whole.")
    typer.echo(f"Generation {number} is compacted and proven: {target.compact_folder(number)}")
    typer.echo(
        f"The outputs differ by at most {proof['max_difference']:.1e} on {proof['examples']} real and "
        f"{proof['random_examples']} random examples{_agreement(proof['top1_agreement'])}."
    )


def _agreement(share: float | None) -> str:
    return "" if share is None else f"; top-1 agreement {100 * share:.2f} %"


def _shares(text: str | None) -> str | list[str] | None:
    """A share, or one for each generation; the plan checks them."""
    return text.split(",") if text and "," in text else text


def _saved_plan(run: Any, plan: Any, *, asked: bool) -> Any:
    """The plan that a run has; RunError where another one was asked for."""
    from synevo.plan.compose import flatten
    from synevo.runs import organisms

    saved = run.load_plan()
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


def _follow(happenings: Any, *, generations: int, nothing: str, **known: Any) -> None:
    from rich.console import Console

    from synevo.cli.progress import follow

    if follow(happenings, Console(stderr=True), generations=generations, **known) == 0:
        typer.echo(nothing, err=True)


def _recorder(run: Any, *, wanted: bool) -> Callable[[Any], Any]:
    """What writes a run's happenings to its event file as they pass, where that is wanted."""
    if not wanted:
        return lambda happenings: happenings
    from synevo.runs import curves

    curves.require()
    typer.echo(f"To see the curves: tensorboard --logdir {run.path}", err=True)
    return functools.partial(curves.record, run)
