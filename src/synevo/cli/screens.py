"""What is printed: texts of users and of files steer no terminal, are no markup, and fit any encoding."""

import sys
from typing import Any

import typer

from synevo.errors import printable


def write_anything() -> None:
    """Let stdout and stderr print every text, with a sign for what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text to stdout, or to stderr if `err` is true."""
    typer.echo(printable(text), err=err, nl=nl)


def console(*, stderr: bool = False) -> Any:
    """Return the terminal, or a console of 160 columns if stdout is no terminal; texts are printed as they are."""
    from rich.console import Console

    class Literal(Console):
        """A console to which a text is no markup, wherever it stands in a table."""

        def render_str(self, text: str, **options: Any) -> Any:
            """Return a text for the console."""
            return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})

        def render(self, renderable: Any, options: Any = None) -> Any:
            """Yield the segments of something to print; their styles become escape codes later, their texts none."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=printable(segment.text))

    screen = Literal(stderr=stderr)
    return screen if stderr or screen.is_terminal else Literal(width=160)
