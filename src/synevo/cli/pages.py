"""The page of a report: its folder, and how it is written and opened."""

import os
import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from synevo.cli.screens import say
from synevo.errors import RunError
from synevo.report.page.card import card
from synevo.report.page.html import render_comparison, render_page
from synevo.report.verdict import leader
from synevo.runs.rundir import RunDir, save_report


def place(paths: list[Path] | None, found: list[RunDir]) -> Path:
    """Return the folder for a page: in its run, or for several runs beside the first of them."""
    if len(found) == 1:
        return found[0].report_folder
    return (paths[0] if paths and len(paths) == 1 else found[0].path.parent) / "report"


def write(found: list[RunDir], numbers: dict[str, Any], folder: Path, *, together: bool, show: bool) -> None:
    """Write the page of these runs, side by side if `together`, and their comparison; open it if `show` is true.

    Raises:
        RunError: if the page cannot be written.
    """
    if together:
        page, lead = render_comparison(numbers, _links(found, numbers["runs"], folder)), leader(numbers["summaries"])
        first = None if lead is None else numbers["summaries"][lead]
    else:
        first = numbers["summaries"][0]
        page = render_page(found[0], first)
    try:
        path = save_report(folder, page, numbers, card(first) if first else None)
    except OSError as error:
        raise RunError(
            f"The page cannot be written to {folder}: {error.strerror}.",
            remedy="Name a folder of your own with --output FOLDER; the run itself is only read.",
        ) from None
    say(f"{path} ({len(page.encode()) / 1e6:.1f} MB, opens offline)", err=True)
    if show:
        webbrowser.open(path.resolve().as_uri())


def _links(found: list[RunDir], names: list[str], folder: Path) -> dict[str, str]:
    """Return the way from a folder to the page of each run that has one, by the name of the run."""
    pages = {name: run.report_folder / "index.html" for name, run in zip(names, found, strict=True)}
    return {
        name: quote(Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix())
        for name, page in pages.items()
        if page.is_file()
    }
