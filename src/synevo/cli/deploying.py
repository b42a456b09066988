"""The commands that put a compacted network to use: predict, export, bench.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from synevo.cli.looking import Ancestor
from synevo.cli.options import Options, plan_options
from synevo.cli.screens import console, say
from synevo.cli.values import FORMATS as NAMES
from synevo.cli.values import complete_run, one_of
from synevo.errors import PlanError, did_you_mean
from synevo.report import scores


def predict(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="Run directory, a folder compact/gNN, or an exported .safetensors file [default: the latest run].",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Image files to classify; for another task, .npz or .npy files of what the network takes.",
            show_default=False,
        ),
    ] = None,
    *,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many classes of each image to print.")] = 3,
    generation: Annotated[
        int | None,
        typer.Option(metavar="G", min=1, help="Which compacted generation g [default: the best].", show_default=False),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Take the negatives: dark on bright, where training was bright on dark.")
    ] = False,
    ancestor: Ancestor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Answer with the compacted network. It gives the classes of images, or FILE-outputs.npz for arrays."""
    from synevo.deploy.classification import classify, doubt, training_brightness
    from synevo.deploy.reload import reload

    run, images = _run_and_files([*([run] if run else []), *(images or [])])
    reloaded = reload(run, generation=generation, ancestor=ancestor)
    if not reloaded.of_images:
        if invert:
            raise PlanError("--invert is for images, and this network takes arrays.", remedy="Leave it out.")
        _answer(run, reloaded, images, as_json=as_json)
        return
    verdicts = classify(reloaded, images, top=top, invert=invert)
    if warning := doubt(reloaded, verdicts, invert=invert):
        say(f"Warning: {warning}", err=True)
    if as_json:
        found = [asdict(verdict) | {"classes": _named(verdict.classes)} for verdict in verdicts]
        about = {"generation": reloaded.generation, "training_brightness": training_brightness(reloaded)}
        say(json.dumps({"run": str(run), **about, "images": found}, indent=2))
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


def _run_and_files(words: list[Path]) -> tuple[Path, list[Path]]:
    """Return the run and the files of a command: the latest run, where the first word is a file to answer."""
    from synevo.runs.rundir import latest

    named = bool(words) and (
        words[0].is_dir() or words[0].suffix == ".safetensors" or (len(words) > 1 and not words[0].is_file())
    )
    run, files = (words[0], words[1:]) if named else (latest().path, words)
    if not files:
        raise PlanError("No file to answer is named.", remedy=f"Name one or more: synevo predict {run} FILE …")
    return run, files


def _answer(run: Path, reloaded: Any, files: list[Path], *, as_json: bool) -> None:
    """Write what a network gives for the arrays in each file to FILE-outputs.npz, in the working folder."""
    from synevo.deploy.answering import answer, write_answer

    answered = []
    for file in files:
        arrays, path = answer(reloaded, file), Path(f"{file.stem}-outputs.npz")
        write_answer(path, arrays)
        about = [{"name": name, "dtype": str(one.dtype), "shape": list(one.shape)} for name, one in arrays.items()]
        answered.append({"file": str(file), "written": str(path), "outputs": about})
        if not as_json:
            say(f"{path}: " + "; ".join(f"{one['name']} {one['dtype']} {one['shape']}" for one in about))
    if as_json:
        say(json.dumps({"run": str(run), "generation": reloaded.generation, "answers": answered}, indent=2))


@plan_options("data.data_dir")
def export(
    *,
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="Run directory; the latest run where none is given.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help=f"{', '.join(NAMES[:-1])} or {NAMES[-1]}.",
            show_default=False,
            autocompletion=one_of(NAMES),
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write [default: RUN/exports/gNN.FORMAT].", show_default=False),
    ] = None,
    generation: Annotated[
        int | None,
        typer.Option(metavar="G", min=1, help="Which compacted generation g [default: the best].", show_default=False),
    ] = None,
    packed: Annotated[
        bool,
        typer.Option("--packed", help="With --to safetensors: a bit a synapse, and the living values alone."),
    ] = False,
    options: Options,
    ancestor: Ancestor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the compacted network as a file for elsewhere. It is compared with its source on test data first."""
    from synevo.deploy.comparison import table
    from synevo.deploy.delivery import FORMATS, deliver, require_format, require_place
    from synevo.deploy.reload import best_compacted, reload
    from synevo.plan.compose import change
    from synevo.runs.organisms import problem_of
    from synevo.runs.rundir import RunDir, latest

    if to not in FORMATS:
        raise PlanError(
            f"There is no format {to!r}.{did_you_mean(to, FORMATS)}" if to else "No format was named.",
            remedy=f"Choose one with --to: {', '.join(FORMATS)}.",
        )
    if packed and to != "safetensors":
        raise PlanError(
            f"--packed is for safetensors, not for {to}.", remedy="Add --to safetensors, or leave --packed out."
        )
    target = latest() if run is None else RunDir(run)
    plan = change(target.load_plan(), options=options)
    number = best_compacted(target) if generation is None else generation
    ending = f"packed.{FORMATS[to].ending}" if packed else FORMATS[to].ending
    path = output or target.path / "exports" / f"g{number:02d}.{ending}"
    reloaded = reload(target.path, generation=number, ancestor=ancestor)
    require_format(reloaded, to)  # before the data are read
    require_place(path)
    done = deliver(reloaded, problem_of(plan), to, path, packed=packed)
    beside = {
        name: done.contract[name] for name in ("dense_bytes", "dense_gzip_bytes", "costs") if name in done.contract
    }
    found = done.comparison
    if as_json:
        said = {"checked": False} if found is None else table(found, of_images=reloaded.of_images)
        say(json.dumps({"file": str(path), "bytes": done.size, **beside, **said}, indent=2))
        return
    say(f"{path}: {done.size:,} bytes; what it expects and gives is in {path.name}.json")
    if packed:
        say(f"Dense it takes {beside['dense_bytes']:,} bytes, and {beside['dense_gzip_bytes']:,} gzipped.")
    if "costs" in beside:
        _say_costs(beside["costs"])
    if found is None:
        say("Not checked: this machine has no C compiler (cc). Install one and export again, or check it elsewhere.")
    elif reloaded.of_images:
        _say_of_images(found, to)
    else:
        _say_of_arrays(done.contract, found, to)


def bench(
    *,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run directories, one after the other; the latest run where none is given.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    forms: Annotated[
        str | None,
        typer.Option(
            metavar="FORM[,FORM…]",
            help="Only these forms of the network: jax, stablehlo, onnx, onnx-int8, tflite, tflite-int8, c, c-int8.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", min=1, help="The threads of each engine, and the cores of all.")
    ] = 1,
    rounds: Annotated[
        int, typer.Option(metavar="N", min=2, help="Rounds of timing, in which all networks take turns.")
    ] = 30,
    ancestor: Ancestor = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; each run is one of `benches`.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row for each network in each form as CSV.")] = False,
) -> None:
    """Measure the compacted network beside its ancestor. Each form tells size, score, time, and what was saved."""
    from synevo.cli.opening import open_runs
    from synevo.deploy.engines import bench as benches
    from synevo.runs.documents import save_bench

    if as_json and as_csv:
        raise PlanError("--json and --csv both print to stdout.", remedy="Give one of them.")
    wanted = _forms(forms)
    made = []
    for run in open_runs(runs):
        found = benches.bench(
            run,
            threads=threads,
            rounds=rounds,
            forms=wanted,
            ancestor=ancestor,
            tell=lambda what: say(f"{run.name}: {what}", err=True),  # noqa: B023
        )
        save_bench(run, found)
        made.append(found)
    if as_json:
        say(json.dumps({"benches": made}, indent=2))
    elif as_csv:
        from synevo.report.sheet import write_bench

        say(write_bench(made), nl=False)
    else:
        from synevo.report.terminal.bench import bench_table

        for found in made:
            console().print(bench_table(found))


def _forms(text: str | None) -> list[str]:
    """Return the forms in a text, or all; raise PlanError if there is none of such a name."""
    from synevo.deploy.engines.forms import FORMS

    wanted = list(FORMS) if text is None else [part.strip() for part in text.split(",")]
    for name in wanted:
        if name not in FORMS:
            raise PlanError(
                f"--forms {text}: there is no form {name!r}.{did_you_mean(name, FORMS)}",
                remedy=f"Forms: {', '.join(FORMS)}.",
            )
    return list(dict.fromkeys(wanted))


def _say_costs(costs: Mapping[str, int]) -> None:
    compiled = f"{costs['bytes_compiled']:,} bytes of code and constants" if "bytes_compiled" in costs else ""
    constants = compiled or f"{costs['bytes_of_constants']:,} bytes of constants"
    say(
        f"In a program it takes {constants}, and {costs['bytes_of_buffers']:,} of buffers; "
        f"{costs['living_multiply_adds']:,} multiply-adds (with dead synapses {costs['stored_multiply_adds']:,})."
    )


def _say_of_images(found: Any, to: str) -> None:
    agreement = found.top1_agreement or 0.0
    say(
        f"On {found.examples:,} test images its logits differ from the source's by at most "
        f"{found.worst.max_difference:.1e} (largest {found.worst.largest:.1f}); top-1 agreement "
        f"{100 * agreement:.2f} %."
    )
    say(f"It classifies {100 * found.score:.2f} % of them right (its source {100 * found.source_score:.2f} %).")
    say(_times(found, to))


def _say_of_arrays(contract: Mapping[str, Any], found: Any, to: str) -> None:
    for verb, part in (("takes", "inputs"), ("gives", "outputs")):
        leaves = [f"{one['name']} {one['dtype']} [{', '.join(map(str, one['shape']))}]" for one in contract[part]]
        say(f"It {verb} {'; '.join(leaves)}.")
    for name, about in contract["free"].items():
        if "at_most" in about:
            say(f"{name} is at most {about['at_most']}, as in training.")
    agreement = "" if found.top1_agreement is None else f"; top-1 agreement {100 * found.top1_agreement:.2f} %"
    say(
        f"On {found.examples:,} test examples it differs from its source by at most {found.worst.relative:.1e} of the "
        f"largest value ({found.worst.name}){agreement}."
    )
    said = [
        scores.write(value, found.score_name) + scores.unit(found.score_name)
        for value in (found.score, found.source_score)
    ]
    say(f"Its {found.score_name} is {said[0]} (its source {said[1]}; {found.better} is better).")
    say(_times(found, to))


def _times(found: Any, to: str) -> str:
    from synevo.deploy.engines.forms import ENGINES, FORMS

    engine = ENGINES[FORMS[to].engine if to in FORMS else "jax"].title
    took, source = f"{found.latency_ms:.3f} ms at batch 1 in {engine}", f"{found.source_latency_ms:.3f} ms"
    return f"It takes {took} (its source in JAX {source})."


def _named(classes: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in classes]
