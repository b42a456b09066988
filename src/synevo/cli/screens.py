"""What is printed: texts of users and of files steer no terminal, are no markup, and fit any encoding."""

import codecs
import sys
from typing import Any

from synevo.errors import printable

_PLAIN = {
    "×": "x",
    "→": "->",
    "…": "...",
    "±": "+/-",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "·": ".",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    **dict.fromkeys("–\N{MINUS SIGN}─━╸╺", "-"),
    **dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True)),
}
"""Spellings of the signs that synevo prints, for streams that lack them; any other letter that is lacking is a `?`."""


def write_anything() -> None:
    """Let stdout and stderr print every text, in plain signs where their encoding lacks the right ones."""
    codecs.register_error("synevo.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="synevo.plain")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what to write for letters that an encoding lacks, and the place to go on at."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


_hushed: list[bool] = []


def hush(*, silent: bool = True) -> None:
    """Print nothing from now on, as on all hosts but one; or, unless `silent`, print again, as an error."""
    _hushed[:] = [True] * silent


def hushed() -> bool:
    """Return whether nothing is printed, as on all hosts but one."""
    return bool(_hushed)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text to stdout, or to stderr if `err` is true, in the encoding of that stream whatever it is."""
    if _hushed:
        return
    print(printable(text), file=sys.stderr if err else sys.stdout, end="\n" if nl else "", flush=True)


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

    screen = Literal(stderr=stderr, quiet=bool(_hushed))
    return screen if stderr or screen.is_terminal else Literal(width=160, quiet=bool(_hushed))
