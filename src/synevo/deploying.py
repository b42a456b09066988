"""The commands that put a compacted network to use: predict, export.

They are plain functions; `synevo.cli` makes commands of them.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from synevo.looking import complete_run


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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Classify image files with the compacted network: the most probable classes, and their probabilities."""
    from synevo.classification import classify
    from synevo.reload import reload

    reloaded = reload(run, generation=generation)
    verdicts = classify(reloaded, images, top=top)
    if as_json:
        found = [asdict(verdict) | {"classes": _named(verdict.classes)} for verdict in verdicts]
        typer.echo(json.dumps({"run": str(run), "generation": reloaded.generation, "images": found}, indent=2))
        return
    from rich.table import Table

    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    for verdict in verdicts:
        for place, (name, probability) in enumerate(verdict.classes):
            table.add_row("" if place else verdict.file, name, f"{100 * probability:.2f} %")
    _console().print(table)


def _named(classes: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in classes]


def _console() -> Any:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)
