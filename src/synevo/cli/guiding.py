"""The commands about synevo itself: guide, the pages of Markdown that ship with it, and cache. They load no JAX.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

from importlib import resources
from typing import Annotated

import typer

from synevo.cli.screens import say
from synevo.cli.values import one_of
from synevo.errors import PlanError, did_you_mean
from synevo.report.numerals import size

TOPICS = (
    "adopt",
    "own-data",
    "tasks",
    "own-network",
    "own-task",
    "own-training",
    "devices",
    "own-loop",
    "examples",
    "library",
    "deploy",
    "results",
    "method",
    "architecture",
)
"""The pages of the guide, in the order in which a user meets them; each is `synevo/guide/TOPIC.md`."""


def guide(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="A page; without one, all are listed.",
            show_default=False,
            autocompletion=one_of(TOPICS),
        ),
    ] = None,
) -> None:
    """Show a page of the guide, or list its topics."""
    if topic is None:
        for name in TOPICS:
            say(f"{name:14s}{page(name).splitlines()[0].lstrip('# ')}")
        return
    text = page(topic)
    from rich.console import Console

    screen = Console()
    if not screen.is_terminal:
        say(text, nl=False)
        return
    from rich.markdown import Markdown

    screen.print(Markdown(text))


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove what the caches hold; runs are no part of them.")
    ] = False,
) -> None:
    """Say where the caches are and how large, or clear them. They hold decoded images and compiled programs."""
    from synevo.files import caches

    for one in caches.clear() if clear else caches.caches():
        count = f"{len(one.files):,} file{'' if len(one.files) == 1 else 's'}"
        say(f"{one.folder}: {one.what}, {count}, {size(one.size)}{', removed' if clear else ''}")
    if not clear:
        say("All of it is made again when it is missing. To remove it: synevo cache --clear", err=True)


def page(topic: str) -> str:
    """Return the Markdown of a page; raise PlanError if there is none of this name."""
    if topic not in TOPICS:
        raise PlanError(
            f"The guide has no page {topic!r}.{did_you_mean(topic, TOPICS)}", remedy=f"Topics: {', '.join(TOPICS)}."
        )
    return (resources.files("synevo.guide") / f"{topic}.md").read_text("utf-8")
