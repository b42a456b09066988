"""The page: a report as one HTML file that opens offline, makes no request, and escapes all text.

Each section is built on its own. If its part of the run is missing or damaged, the section says so, and the others do
not change.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from synevo import __version__
from synevo.errors import SynevoError
from synevo.lineage.individuals import label_of
from synevo.report import budgets, numerals, scores, variation, verdict
from synevo.report.levels import efficiency
from synevo.report.page import card, figures, several
from synevo.report.page.columns import anatomy
from synevo.report.page.figures import Row, draw
from synevo.report.page.looks import (
    AbsentError,
    absent,
    damaged,
    first_filters,
    heat_maps,
    kernel_sheets,
    outcome_pictures,
)
from synevo.report.page.samples import samples
from synevo.report.page.tree import tree
from synevo.runs.rundir import RunDir

_DARK = {
    figures.PAPER: "#14181d",
    figures.INK: "#e8ebee",
    figures.MUTED: "#9aa5b1",
    figures.GRID: "#2c333b",
    figures.OURS: "#62a8ff",
    figures.SOFT: "#3d6593",
    "#d55e00": "#ff9450",
    "#9c4f96": "#d58ccf",
    "#6b7280": "#a5adb8",
    "#00795c": "#35c39c",
    "#b58900": "#e3b935",
    "#8a3324": "#e08a76",
    "#c9ced4": "#4a525b",
}
"""The dark theme's colour for each colour of the figures."""

_WORDS = {
    "BUDGETS": budgets.BUDGETS,
    "REPEATED": budgets.REPEATED,
    "SIBLINGS": variation.SIBLINGS,
    "SEEDS": variation.SEEDS,
    "SHARES": variation.SHARES,
}
"""Explanations of the words in tables."""

Section = Callable[[RunDir, Row], Any]


def render_page(run: RunDir, summary: Row) -> str:
    """Return the HTML page of one run; a section that cannot be built shows its problem."""
    summary = _without_folders(summary)
    parts: dict[str, Any] = {}
    gaps: dict[str, Any] = {}
    for name, build in _SECTIONS.items():
        try:
            parts[name] = build(run, summary)
        except AbsentError as error:
            gaps[name] = {"quiet": error.problem}
        except SynevoError as error:
            gaps[name] = error.problem
        except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
            gaps[name] = f"It cannot be shown: {type(error).__name__}: {error}."
    return _render("run.html", summary=summary, parts=parts, gaps=gaps, title=summary["run"], pictured=card.words)


_PATHS = (("data", "dataset"), ("data", "data_dir"), ("ancestor", "weights"), ("ancestor", "names"))
"""The fields of a plan that may be paths."""


def _without_folders(summary: Row) -> Row:
    """Return a summary with names in place of paths: a page is shown around, and the folders are the author's own."""
    if not summary["plan"]:
        return summary
    plan = {name: dict(value) if isinstance(value, Mapping) else value for name, value in summary["plan"].items()}
    commands = list(summary["commands"])
    for section, field in _PATHS:
        path = plan[section][field]
        if path and "/" in path:
            plan[section][field] = Path(path).name
            commands = [command.replace(path, Path(path).name) for command in commands]
    return {**summary, "plan": plan, "commands": commands}


def render_comparison(comparison: Row, links: Mapping[str, str] | None = None) -> str:
    """Return the HTML page of several runs; `links` lead from the name of a run to its own page."""
    score, groups = comparison["score"], comparison["groups"]
    curves = {
        figures.KINDS[kind]: draw(partial(figures.spread, groups, score, kind))
        for kind in figures.KINDS
        if any(group["generations"] for group in groups)
    }
    fronts = {
        quantity.replace("_", "-"): draw(partial(several.pareto, comparison, quantity))
        for quantity in several.QUANTITIES
        if several.knows(comparison, quantity)
    }
    differ = any(row["field"] != "seed" for row in comparison["differences"])
    plans = draw(partial(several.parallel, comparison)) if differ else None
    count = len(comparison["runs"])
    title = f"{count} runs" if count > 1 else comparison["runs"][0]
    lead = verdict.leader(comparison["summaries"])
    return _render(
        "comparison.html",
        comparison=comparison,
        curves=curves,
        fronts=fronts,
        plans=plans,
        lead=None if lead is None else {"run": comparison["runs"][lead], "summary": comparison["summaries"][lead]},
        links=links or {},
        title=title,
    )


def _render(template: str, **context: Any) -> str:
    """Fill a template with the context, the style sheet, the script, and the functions that write numbers."""
    folder = resources.files("synevo.report.page") / "templates"
    names = ("layout.html", "parts.html", "run.html", "bench.html", "comparison.html")
    loader = jinja2.DictLoader({name: (folder / name).read_text("utf-8") for name in names})
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        name: getattr(numerals, name)
        for name in (
            "percent",
            "ratio",
            "number",
            "whole",
            "hundredths",
            "duration",
            "size",
            "milliseconds",
            "whole_percent",
        )
    }
    environment.filters |= {"label": label_of, "coded": _coded, "heading": scores.heading}
    environment.filters["budgets"] = lambda values, summary: scores.budgets(values, summary["score"]["name"])
    environment.filters["score"] = lambda value, summary: scores.write(value, summary["score"]["name"])
    environment.filters["around"] = lambda spread, name: numerals.around(spread, getattr(numerals, name))
    environment.filters["around_score"] = lambda spread, summary: numerals.around(
        spread, partial(scores.write, name=summary["score"]["name"])
    )
    environment.filters["moved_score"] = lambda spread, summary: numerals.moved(
        spread, partial(scores.write, name=summary["score"]["name"])
    )
    told = ("speed_in_words", "engine", "engines", "spent", "subject", "verdict")
    environment.globals |= {name: getattr(verdict, name) for name in told}
    environment.globals |= {"times": numerals.times, "drawing": Markup, "words": _WORDS, "unit_of": scores.unit}
    return environment.get_template(template).render(
        style=Markup((folder / "page.css").read_text("utf-8") + _dark_rules()),  # noqa: S704 (our own file)
        script=Markup((folder / "page.js").read_text("utf-8")),  # noqa: S704 (our own file)
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **context,
    )


def _coded(text: str) -> Markup:
    """Return a text as HTML, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (it is escaped)


def _dark_rules() -> str:
    """Return CSS rules for the figures' colours in the dark theme; they take precedence over SVG attributes."""
    rules = "".join(
        f'svg [{attribute}="{light}"]{{{attribute}:{dark}}}\n'
        for light, dark in _DARK.items()
        for attribute in ("fill", "stroke")
    )
    return f"@media screen and (prefers-color-scheme: dark) {{\n{rules}}}\n"


def _headline(_: RunDir, summary: Row) -> Row:
    best = next((row for row in summary["generations"] if row["chosen"] and row["generation"] == summary["best"]), None)
    if best is None:
        raise absent("No generation of this run is known to be within the budget.")
    compact = summary["compact"] if summary["compact"] and "problem" not in summary["compact"] else None
    compact = compact if compact and compact["generation"] == summary["best"] else None
    return {"best": best, "ancestor": summary["generations"][0], "compact": compact}


def _curves(_: RunDir, summary: Row) -> Mapping[str, Any]:
    if not any(row["synaptic_efficiency"] and row["test_score"] is not None for row in summary["generations"]):
        raise absent("No individual has been counted and scored yet.")
    first = summary["generations"][0]
    rows = [
        {**row, **{f"{name}_efficiency": efficiency(row, first, what) for name, what in _SHAPES.items()}}
        for row in summary["generations"]
    ]
    whole = {**summary, "generations": rows}
    return {name: draw(partial(figures.curve, whole, kind)) for kind, name in figures.KINDS.items()}


_SHAPES = {"storage": "stored-weights", "multiply_add": "multiply-adds"}
"""The efficiencies that are not in a summary, and their quantities."""


def _tree(_: RunDir, summary: Row) -> Any:
    """Return the family tree, where there are siblings or couples: a line of single heirs needs no drawing."""
    if not summary["generations"]:
        raise absent("There is no individual yet.")
    generations = [row["generation"] for row in summary["generations"]]
    family = len(set(generations)) < len(generations) or any(len(row["parents"]) > 1 for row in summary["generations"])
    return {"drawing": draw(partial(tree, summary)) if family else None}


def _anatomy(_: RunDir, summary: Row) -> Any:
    if not summary["layers"]:
        raise absent("There is no best network to draw beside its ancestor.")
    return {"drawing": draw(partial(anatomy, summary))}


def _cost(_: RunDir, summary: Row) -> Any:
    if not summary["generations"]:
        raise absent("Nothing has been trained yet.")
    return {"drawing": draw(partial(figures.durations, summary))}


def _proof(_: RunDir, summary: Row) -> Row:
    for gap in summary["missing"]:
        if gap["part"] == "compact":
            raise damaged(gap["problem"])
    if summary["compact"] is None:
        raise absent("No network of this run is compacted yet: `synevo compact` does that, and proves it.")
    compact: Row = summary["compact"]
    return compact


_SECTIONS: dict[str, Section] = {
    "headline": _headline,
    "curves": _curves,
    "tree": _tree,
    "anatomy": _anatomy,
    "survival": lambda _, summary: heat_maps(summary["survival"]),
    "kernels": kernel_sheets,
    "filters": first_filters,
    "outcomes": outcome_pictures,
    "samples": samples,
    "proof": _proof,
    "cost": _cost,
}
