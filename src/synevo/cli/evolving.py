"""The commands that make a run: train-ancestor, adopt, evolve, compact.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

from pathlib import Path
from typing import Annotated

import typer

from synevo.cli.looking import Ancestor
from synevo.cli.options import Options, plan_options
from synevo.cli.values import complete_preset, complete_run, complete_set
from synevo.errors import PlanError

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Any field of the plan, as listed by `synevo fields`; repeatable.",
        autocompletion=complete_set,
    ),
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


Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts",
        metavar="auto|N",
        help="Train on several hosts, which all see the run directory; auto: as a cluster that JAX knows has it.",
        show_default=False,
        autocompletion=lambda incomplete: [word for word in ("auto", "2", "4") if word.startswith(incomplete)],
    ),
]
Coordinator = Annotated[
    str | None,
    typer.Option("--coordinator", metavar="ADDRESS:PORT", help="Where host 0 is reached, with --hosts N."),
]
Host = Annotated[
    int | None, typer.Option("--host", metavar="I", min=0, help="Which of --hosts N this one is: 0, 1, …, N-1.")
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="devices|ray",
        help="Train the offspring of a brood side by side: each on a device of this machine, or on the nodes of a Ray "
        "cluster, where several runs are also worked on side by side.",
        show_default=False,
        autocompletion=lambda incomplete: [word for word in ("devices", "ray") if word.startswith(incomplete)],
    ),
]
DEVICES = {stage: (f"{stage}.devices", f"{stage}.shard") for stage in ("ancestor_training", "training")}
"""The fields that say where a training runs."""


@plan_options("data", "task", "ancestor", "seed", *DEVICES["ancestor_training"], "evolution.engine")
def train_ancestor(
    *,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory [default: runs/DATASET-ANCESTOR].")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where the plan starts from, as listed by `synevo presets`.",
            autocompletion=complete_preset,
        ),
    ] = None,
    options: Options,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="SEEDS",
            help="Replicates: 0..4 or 0,2,5 makes a run directory a seed, RUN-0 to RUN-4, alike but for the seed.",
            show_default=False,
        ),
    ] = None,
    ancestor_of: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Take the trained ancestor of another run, with its data and its seed; with --seeds, of RUN-0, ….",
            autocompletion=complete_run,
        ),
    ] = None,
    hosts: Hosts = None,
    coordinator: Coordinator = None,
    host: Host = None,
    sets: Sets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Train the ancestor of a new run, or go on training it."""
    from synevo.cli import working
    from synevo.cli.together import together

    plans = working.plan_runs(run, seeds, options, preset=preset, sets=sets or ())
    seeded = "seed" in options or seeds is not None
    where = {name: value for name, value in options.items() if name in DEVICES["ancestor_training"]}
    asked = seeded or bool(options.keys() - {"data.data_dir", *where} or preset or sets)
    if ancestor_of is None:
        with together(hosts, coordinator, host, runs=len(plans)):
            working.train_ancestors(plans, asked=asked, where=where, tensorboard=tensorboard)
        return
    if (hosts, coordinator, host) != (None, None, None):
        raise PlanError("--ancestor-of takes files of a run, on one host.", remedy="Leave --hosts and the like out.")
    origin = working.origin_of(ancestor_of, replicated=seeds is not None)
    working.take_ancestors(plans, origin, seeded=seeded, tensorboard=tensorboard)


@plan_options("data", "task", "ancestor", "seed", "evolution.engine")
def adopt(
    *,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory [default: runs/DATASET-ANCESTOR].")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where the plan starts from, as listed by `synevo presets`.",
            autocompletion=complete_preset,
        ),
    ] = None,
    options: Options,
    expect: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Inputs and the outputs that the network's own framework gave for them (.npz): where the network "
            "gives others, nothing is adopted.",
            show_default=False,
        ),
    ] = None,
    sets: Sets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Adopt a trained network as the ancestor of a new run. It is generation 1, scored and never trained."""
    from synevo.cli import working

    asked = bool(options.keys() - {"data.data_dir"} or preset or sets)
    plans = working.plan_runs(run, None, {"ancestor_training.epochs": 0, **options}, preset=preset, sets=sets or ())
    working.adopt_ancestors(plans, expect, asked=asked, tensorboard=tensorboard)


@plan_options("evolution", "environment", "encoding", *DEVICES["training"], "data.data_dir")
def evolve(
    *,
    runs: Runs = None,
    options: Options,
    hosts: Hosts = None,
    coordinator: Coordinator = None,
    host: Host = None,
    on: On = None,
    sets: Sets = None,
    tensorboard: TensorBoard = False,
    ancestor: Ancestor = None,
) -> None:
    """Evolve runs to a generation, offspring after offspring. Each is synthesised, compacted, trained and scored."""
    from synevo.cli import working
    from synevo.cli.together import together

    with together(hosts, coordinator, host, runs=len(runs or [None])):
        working.evolve(runs, options, sets or (), tensorboard=tensorboard, ancestor=ancestor, on=on)


@plan_options("data.data_dir", "evolution.engine")
def compact(
    *,
    runs: Runs = None,
    generation: Annotated[
        int | None,
        typer.Option(
            metavar="G", min=1, help="Which generation g [default: the best within the budget].", show_default=False
        ),
    ] = None,
    round_to: Annotated[
        str,
        typer.Option(
            metavar="auto|none|N",
            help="Keep dead filters until each layer has a multiple of N; auto: try 4, 8 and 16, and keep what runs "
            "fastest in the engine; none: cut them all.",
            autocompletion=lambda incomplete: [w for w in ("auto", "none", "4", "8", "16") if w.startswith(incomplete)],
        ),
    ] = "auto",
    options: Options,
    ancestor: Ancestor = None,
) -> None:
    """Write the best network physically smaller, proven equal. It is timed beside its ancestor."""
    from synevo.cli import working

    working.compact(runs, generation, round_to=round_to, options=options, ancestor=ancestor)
