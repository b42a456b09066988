"""The commands that put a compacted network to use: predict, export.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from synevo.cli.looking import Ancestor, complete_run
from synevo.cli.options import Options, plan_options
from synevo.cli.screens import console, say
from synevo.errors import PlanError, did_you_mean


def predict(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run directory, a folder compact/gNN, or an exported .safetensors file.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files to classify.", show_default=False)
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes of each image to print.")] = 3,
    generation: Annotated[
        int | None,
        typer.Option(min=1, help="Which compacted generation g [default: the best].", show_default=False),
    ] = None,
    ancestor: Ancestor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Classify image files with the compacted network: the most probable classes, and their probabilities."""
    from synevo.deploy.classification import classify
    from synevo.deploy.reload import reload

    reloaded = reload(run, generation=generation, ancestor=ancestor)
    verdicts = classify(reloaded, images, top=top)
    if as_json:
        found = [asdict(verdict) | {"classes": _named(verdict.classes)} for verdict in verdicts]
        say(json.dumps({"run": str(run), "generation": reloaded.generation, "images": found}, indent=2))
        return
    from rich.table import Table

    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    for verdict in verdicts:
        for place, (name, probability) in enumerate(verdict.classes):
            table.add_row("" if place else verdict.file, name, f"{100 * probability:.2f} %")
    console().print(table)


@plan_options("data.data_dir")
def export(
    *,
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run directory; the latest run where none is given.", show_default=False, autocompletion=complete_run
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="safetensors, stablehlo, onnx, tflite, tflite-int8, c or c-int8.",
            show_default=False,
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write [default: RUN/exports/gNN.FORMAT].", show_default=False),
    ] = None,
    generation: Annotated[
        int | None,
        typer.Option(min=1, help="Which compacted generation g [default: the best].", show_default=False),
    ] = None,
    options: Options,
    ancestor: Ancestor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the compacted network as a file that runs elsewhere, after comparing it with its source on test images."""
    from synevo.data import datasets
    from synevo.deploy.delivery import FORMATS, deliver, require_place
    from synevo.deploy.reload import best_compacted, reload
    from synevo.plan.compose import change
    from synevo.runs.rundir import RunDir, latest

    if to not in FORMATS:
        raise PlanError(
            f"There is no format {to!r}.{did_you_mean(to, FORMATS)}" if to else "No format was named.",
            remedy=f"Choose one with --to: {', '.join(FORMATS)}.",
        )
    target = latest() if run is None else RunDir(run)
    plan = change(target.load_plan(), options=options)
    number = best_compacted(target) if generation is None else generation
    path = output or target.path / "exports" / f"g{number:02d}.{FORMATS[to].ending}"
    reloaded = reload(target.path, generation=number, ancestor=ancestor)
    reloaded.require_images()  # before the data are read
    require_place(path)
    done = deliver(reloaded, datasets.load(plan.data, seed=plan.seed), to, path)
    found = done.comparison
    if as_json:
        say(
            json.dumps(
                {"file": str(path), "bytes": done.size, **(asdict(found) if found else {"checked": False})}, indent=2
            )
        )
        return
    say(f"{path}: {done.size:,} bytes; what it expects and gives is in {path.name}.json")
    if found is None:
        say(
            "Not checked: there is no C compiler (cc) on this machine. Install one and export again, or check it there."
        )
        return
    say(
        f"On {found.images:,} test images its logits differ from the source's by at most {found.max_difference:.1e} "
        f"(largest {found.largest_logit:.1f}); top-1 agreement {100 * found.top1_agreement:.2f} %."
    )
    say(
        f"It classifies {100 * found.accuracy:.2f} % of them right (its source {100 * found.source_accuracy:.2f} %), "
        f"and takes {found.latency_ms:.3f} ms at batch 1 (its source in JAX {found.source_latency_ms:.3f} ms)."
    )


def _named(classes: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in classes]
