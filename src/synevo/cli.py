"""The command line: parse, call, render. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done; 1 a bug of synevo's own; 2 something that the user can mend; 130 interrupted. Nothing heavy is
imported before a command needs it, so that help is instant.
"""

import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from synevo import looking
from synevo.errors import SynevoError

app = typer.Typer(
    name="synevo",
    help="Evolve a trained network into a far smaller, faster one, and prove that it is that network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[
    Path | None,
    typer.Argument(
        help="Run directory; the latest run where none is given.",
        show_default=False,
        autocompletion=looking.complete_run,
    ),
]
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
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Also write the curves to RUN/tensorboard as they grow, for TensorBoard.")
]


def main() -> None:
    """Run the command line."""
    app()


def _answering(command: Callable[..., None]) -> Callable[..., None]:
    """A command that ends with the exit code and the words that its outcome deserves."""

    @functools.wraps(command)
    def answering(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SynevoError as error:
            _fail(error.problem, error.remedy)
        except KeyboardInterrupt:
            typer.echo(f"\nInterrupted. Nothing is lost; to go on: {_again()}", err=True)
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
                raise
            _fail(
                f"{error.strerror}: {error.filename or 'the run directory'}.",
                f"Make room or give access, then go on: {_again()}",
            )

    @functools.wraps(answering)
    def honest(*args: Any, **kwargs: Any) -> None:
        try:
            answering(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except Exception:  # noqa: BLE001  (the last resort: a bug of our own, shown whole)
            traceback.print_exc()
            typer.echo("This is a bug in synevo. Please report it with the lines above.", err=True)
            raise typer.Exit(1) from None

    return honest


def _fail(problem: str, remedy: str) -> None:
    typer.echo(f"Error: {problem}", err=True)
    typer.echo(remedy, err=True)
    raise typer.Exit(2)


def _again() -> str:
    return " ".join(["synevo", *sys.argv[1:]])


def _print_version(wanted: bool) -> None:
    if wanted:
        from synevo import __version__

        typer.echo(f"synevo {__version__}")
        raise typer.Exit


@app.callback()
def synevo(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Evolve a trained network into a far smaller, faster one, and prove that it is that network."""
    del version


@app.command("train-ancestor")
@_answering
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
    ancestor_of: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take the trained ancestor of another run, with its data and its seed."),
    ] = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Train the ancestor: generation 1 of a new run, or go on training it."""
    from synevo.plan import compose

    options = {"data.dataset": dataset, "ancestor.name": ancestor, "seed": seed, "data.data_dir": data_dir}
    plan = compose(preset=preset, options=options, sets=sets or ())
    target = _directory(run or Path("runs") / f"{Path(plan.data.dataset).stem}-{plan.ancestor.name.replace(':', '.')}")
    record = _recorder(target, wanted=tensorboard)
    _prepare_jax()
    from synevo import stages

    if ancestor_of is not None:
        _follow(
            record(stages.adopt_ancestor(target, plan, _open(ancestor_of))),
            generations=1,
            nothing=f"{target.path} has its ancestor already.",
        )
        return
    if target.exists():
        plan = _saved_plan(target, plan, asked=any([dataset, ancestor, preset, seed is not None, sets]))
    ancestry = record(stages.train_ancestor(target, plan))
    _follow(ancestry, generations=1, nothing=f"{target.path} has its ancestor already.")
    typer.echo(f"Ancestor of {target.path} is ready. Next: synevo evolve {target.path}", err=True)


@app.command()
@_answering
def evolve(
    run: Run = None,
    generations: Annotated[
        int | None, typer.Option(min=1, help="The generation g to reach; the ancestor is 1.", show_default=False)
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Stop this far below the ancestor's validation accuracy.", show_default=False),
    ] = None,
    keep_synapses: Annotated[
        float | None, typer.Option(help="R^s: share of the parent's synapses expected to survive.", show_default=False)
    ] = None,
    keep_clusters: Annotated[
        float | None, typer.Option(help="R^c: share of the parent's clusters expected to survive.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="c: what lives or dies together, kernel or filter.", show_default=False)
    ] = None,
    heredity: Annotated[
        str | None,
        typer.Option(
            help="Who survives: by cluster (the paper), synapse, magnitude, taylor, random, shuffled or scratch.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Evolve a run to a generation: synthesise, compact, train and score one offspring after the other."""
    from synevo import course
    from synevo.plan import change

    target = _open(run)
    options = {
        "evolution.generations": generations,
        "evolution.max_drop": max_drop,
        "environment.keep_synapses": keep_synapses,
        "environment.keep_clusters": keep_clusters,
        "encoding.cluster": cluster,
        "encoding.heredity": heredity,
        "data.data_dir": data_dir,
    }
    plan = change(target.load_plan(), options=options, sets=sets or ())
    record = _recorder(target, wanted=tensorboard)
    _prepare_jax()
    from synevo import stages

    generations = plan.evolution.generations
    _follow(
        record(stages.evolve(target, plan)),
        generations=generations,
        nothing=f"{target.path} has nothing left to evolve.",
        lineage=target.load_lineage(),
    )
    lineage = target.load_lineage()
    state = course.state(lineage, plan)
    if state == "failed":
        _fail(
            f"Generation {lineage.last.label} failed. {lineage.last.problem}",
            "The generations before it are whole.",
        )
    typer.echo(f"The lineage of {target.path} is {state} at generation {lineage.last.generation}.", err=True)
    typer.echo(f"Next: synevo compact {target.path}; synevo report {target.path}", err=True)


@app.command()
@_answering
def compact(
    run: Run = None,
    generation: Annotated[
        int | None,
        typer.Option(min=1, help="Which generation g [default: the best within the budget].", show_default=False),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the best network physically smaller, proven equal to the masked one and timed beside its ancestor."""
    from synevo.plan import change

    target = _open(run)
    plan = change(target.load_plan(), options={"data.data_dir": data_dir})
    _prepare_jax()
    from synevo import stages

    documents = stages.compact(target, plan, generation=generation)
    number, proof = documents["architecture"]["generation"], documents["proof"]
    typer.echo(f"Generation {number} is compacted and proven: {target.compact_folder(number)}")
    typer.echo(
        f"The logits differ by at most {proof['max_difference']:.1e} on {proof['images']} real and "
        f"{proof['random_images']} random images; top-1 agreement {100 * proof['top1_agreement']:.2f} %."
    )


app.command()(_answering(looking.report))
app.command()(_answering(looking.runs))
app.command()(_answering(looking.watch))


@app.command()
@_answering
def verify(
    run: Run = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check the files alone, without loading networks.")] = False,
) -> None:
    """Compute every number of the report again from the files."""
    from synevo.verification import verify_files, verify_numbers

    target = _open(run)
    checks = list(verify_files(target))
    if not quick and all(check.holds for check in checks):
        _prepare_jax()
        checks += verify_numbers(target)
    for check in checks:
        typer.echo(
            f"{'ok     ' if check.holds else 'DAMAGED'} {check.subject}{'' if check.holds else f': {check.found}'}"
        )
    wrong = sum(not check.holds for check in checks)
    if wrong:
        _fail(
            f"{wrong} of {len(checks)} checks of {target.path} do not hold.", "Restore the damaged files from a copy."
        )


@app.command()
@_answering
def fields() -> None:
    """List every field of a plan, its default and its meaning."""
    from synevo.plan import Plan, describe, flatten

    meanings = describe()
    for name, value in flatten(Plan()).items():
        typer.echo(f"{name + ' = ' + json.dumps(value):44s} {meanings[name]}")


@app.command()
@_answering
def presets() -> None:
    """List the presets: their command, hardware, time and the result to expect."""
    from synevo.plan import preset_names, preset_table

    for name in preset_names():
        typer.echo(name)
        for title, text in preset_table(name)["about"].items():
            typer.echo(f"  {title + ':':10s}{' '.join(text.split())}")


def _directory(path: Path) -> Any:
    from synevo.rundir import RunDir

    return RunDir(path)


def _open(path: Path | None) -> Any:
    """The run at a path, which must exist, or the latest."""
    from synevo.rundir import latest

    run = latest() if path is None else _directory(path)
    run.load_plan()
    return run


def _saved_plan(run: Any, plan: Any, *, asked: bool) -> Any:
    """The plan that a run has; RunError where another one was asked for."""
    from synevo import stages
    from synevo.errors import RunError
    from synevo.plan import flatten

    saved = run.load_plan()
    if asked:
        before, after = flatten(saved), flatten(stages.resolve(plan))
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

    from synevo.progress import follow

    if follow(happenings, Console(stderr=True), generations=generations, **known) == 0:
        typer.echo(nothing, err=True)


def _recorder(run: Any, *, wanted: bool) -> Callable[[Any], Any]:
    """What writes a run's happenings to its event file as they pass, where that is wanted."""
    if not wanted:
        return lambda happenings: happenings
    from synevo import curves

    curves.require()
    typer.echo(f"To see the curves: tensorboard --logdir {run.path}", err=True)
    return functools.partial(curves.record, run)


def _prepare_jax() -> None:
    """Settings that must stand before JAX is imported: quiet logs, and compiled programs kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "synevo" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
