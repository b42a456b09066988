"""The command that shows the guide: pages of Markdown that ship with synevo. It loads no JAX.

It is a plain function; `synevo.cli.app` makes a command of it.
"""

from importlib import resources
from typing import Annotated

import typer

from synevo.cli.screens import say
from synevo.errors import PlanError, did_you_mean

TOPICS = (
    "adopt",
    "own-data",
    "tasks",
    "own-network",
    "own-task",
    "own-training",
    "own-loop",
    "examples",
    "library",
    "deploy",
    "results",
    "method",
    "architecture",
)
"""The pages of the guide, in the order in which a user meets them; each is `synevo/guide/TOPIC.md`."""


def complete_topic(incomplete: str) -> list[str]:
    """Return the topics that begin with `incomplete`, for the shell's completion."""
    return [topic for topic in TOPICS if topic.startswith(incomplete)]


def guide(
    topic: Annotated[
        str | None,
        typer.Argument(help="A page; without one, all are listed.", show_default=False, autocompletion=complete_topic),
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


def page(topic: str) -> str:
    """Return the Markdown of a page; raise PlanError if there is none of this name."""
    if topic not in TOPICS:
        raise PlanError(
            f"The guide has no page {topic!r}.{did_you_mean(topic, TOPICS)}", remedy=f"Topics: {', '.join(TOPICS)}."
        )
    return (resources.files("synevo.guide") / f"{topic}.md").read_text("utf-8")
