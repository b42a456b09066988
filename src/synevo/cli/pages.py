"""The page of a report: its folder, and how it is written and opened."""

import webbrowser
from pathlib import Path
from typing import Any

from synevo.cli.screens import say
from synevo.errors import RunError
from synevo.report.page.html import render_comparison, render_page
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
    page = render_comparison(numbers) if together else render_page(found[0], numbers["summaries"][0])
    try:
        path = save_report(folder, page, numbers)
    except OSError as error:
        raise RunError(
            f"The page cannot be written to {folder}: {error.strerror}.",
            remedy="Name a folder of your own with --output FOLDER; the run itself is only read.",
        ) from None
    say(f"{path} ({len(page.encode()) / 1e6:.1f} MB, opens offline)", err=True)
    if show:
        webbrowser.open(path.resolve().as_uri())
