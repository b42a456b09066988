"""The guide: its pages as text where the output is piped, rendered on a terminal, and no JAX for either."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.cli.guiding import TOPICS, page


def show(*words: str, **environment: str) -> tuple[int, str]:
    """The exit code and all output of `synevo guide`."""
    result = CliRunner(env={"FORCE_COLOR": None, "TTY_COMPATIBLE": None, **environment}).invoke(app, ["guide", *words])
    return result.exit_code, result.output


def test_without_a_topic_all_are_listed_with_a_line_each() -> None:
    code, shown = show()
    assert code == 0
    assert [line.split()[0] for line in shown.splitlines()] == list(TOPICS)
    assert all(len(line) > 30 for line in shown.splitlines())


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_its_file_where_the_output_is_piped(topic: str) -> None:
    assert show(topic) == (0, page(topic))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_rendered_on_a_terminal(topic: str) -> None:
    code, shown = show(topic, FORCE_COLOR="1", COLUMNS="100")
    assert code == 0
    assert "\x1b[" in shown
    assert "```" not in shown
    assert "<!--" not in shown


def test_a_topic_that_is_none_is_answered_with_those_that_are() -> None:
    code, shown = show("no-such")
    assert code == 2
    assert "'no-such'" in shown
    assert ", ".join(TOPICS) in shown


def test_the_guide_loads_no_jax() -> None:
    run = "sys.argv = ['synevo', 'guide', 'method']; from synevo.cli.app import app; app(standalone_mode=False)"
    code = f"import sys; {run}; assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
