"""README and guide name only commands, options, goals, files and presets that exist, and hold the generated tables."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import typer

from synevo.cli.app import app
from synevo.cli.guiding import TOPICS
from synevo.deploy.delivery import FORMATS
from synevo.deploy.engines.forms import FORMS
from synevo.plan.compose import compose, describe
from synevo.plan.fields import HeredityName
from synevo.plan.presets import preset_names, preset_records, preset_table
from synevo.report.results import ABLATIONS, BUDGETS, SMALL, SPARSE, TABLES, fill, last_within, lineages

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "src/synevo/guide"
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted(GUIDE.glob("*.md")))
}
MOST_LINES, WIDEST = 160, 120


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language in a page, those within lists too."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def shell_lines(text: str) -> list[str]:
    """The command lines of a page: those of its shell blocks, and those in its sentences."""
    whole = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    within = re.findall(r"`((?:synevo|pip|make|python|tensorboard) [^`]+)`", re.sub(r"\s+", " ", text))
    return [line for line in (*whole.splitlines(), *within) if line.strip()]


COMMANDS = sorted(
    {
        (page, " ".join(words))
        for page, text in PAGES.items()
        for line in shell_lines(text)
        if (words := shlex.split(line, comments=True))[0] == "synevo"
    }
)


def parse(line: str) -> None:
    """Let the command line parse a command, and what the plan says about its values."""
    _, name, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    parsed = command.make_context(name, words).params
    compose(preset=parsed.get("preset"), sets=parsed.get("sets") or ())
    assert parsed.get("heredity") in {None, *get_args(HeredityName)}
    assert parsed.get("to") in {None, "", *FORMATS}
    assert {*(parsed.get("forms") or "jax").split(",")} <= {*FORMS}
    assert name != "guide" or parsed["topic"] in {None, "TOPIC", *TOPICS}


def test_the_documents_show_commands() -> None:
    assert {page for page, _ in COMMANDS} == set(PAGES)


@pytest.mark.parametrize("line", sorted({line for _, line in COMMANDS}))
def test_a_command_of_a_document_is_one_of_the_command_line(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", ["synevo evolve --no-such", "synevo evolve --set no.such=1", "synevo guide no-such"])
def test_a_command_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(Exception, match=r"no.such"):
        parse(line)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_document_compiles_and_imports_what_exists(page: str) -> None:
    for block in blocks(PAGES[page], "python"):
        for module, name in synevo_names(ast.parse(block)):
            assert name is None or hasattr(importlib.import_module(module), name), f"{module}.{name}"


def synevo_names(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """What a program takes from synevo: modules, and names in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "synevo":
            yield from ((node.module, alias.name) for alias in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "synevo":
            yield "synevo", node.attr


def test_the_goals_extras_and_scripts_that_the_documents_name_exist() -> None:
    goals = set(" ".join(re.findall(r"^([a-z ]+):", MAKEFILE, re.MULTILINE)).split())
    told = [line for text in PAGES.values() for line in shell_lines(text)]
    told += [preset_table(preset)["about"]["command"] for preset in preset_names()]
    named = set(re.findall(r"make ([a-z]+)", "\n".join(line.partition("#")[0] for line in told)))
    assert {"demo", "test", "results"} <= named <= goals
    whole = "\n".join(PAGES.values())
    extras = set(re.findall(r"install '(?:synevo|\.)\[(\w+)\]'", whole))
    assert extras
    assert extras <= set(re.findall(r"^(\w+) = \[", PROJECT, re.MULTILINE))
    scripts = set(re.findall(r"python (\S+\.py)", whole))
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_every_module_folder_and_field_that_the_documents_name_exists() -> None:
    whole = "\n".join(PAGES.values())
    programs = set(re.findall(r"^## .*: `(\w+\.py)`$", whole, re.MULTILINE))  # which a user writes
    named = set(re.findall(r"`(?:src/synevo/)?([\w/]+\.py)`", whole))
    modules = named - programs - {"tests/test_architecture.py"}
    assert len(modules) >= 15
    assert all((ROOT / "src/synevo" / module).is_file() for module in modules)
    packages = set(re.findall(r"^[├└]── (\w+)/", PAGES["src/synevo/guide/architecture.md"], re.MULTILINE))
    assert packages == {path.name for path in (ROOT / "src/synevo").iterdir() if path.is_dir()} - {"__pycache__"}
    fields = set(
        re.findall(r"`((?:data|training|ancestor_training|encoding|environment|evolution)\.(?!py`)\w+)", whole)
    )
    assert fields <= set(describe())


def test_the_readme_is_short_and_the_pages_are_as_wide_as_a_terminal() -> None:
    assert len(PAGES["README.md"].splitlines()) <= MOST_LINES
    for page, text in PAGES.items():
        assert [line for line in text.splitlines() if len(line) > WIDEST] == [], page


def test_the_readme_names_every_page_of_the_guide() -> None:
    assert set(TOPICS) == {path.stem for path in GUIDE.glob("*.md")}
    assert re.findall(r"^\| `([\w-]+)` \| [a-z]", PAGES["README.md"].partition("| topic |")[2], re.MULTILINE) == list(
        TOPICS
    )


# The tables are those that `make results` writes, from raw figures.


def test_the_tables_of_the_documents_are_those_that_are_generated() -> None:
    told = [name for text in PAGES.values() for name in re.findall(r"<!-- results: ([\w-]+) -->", text)]
    assert sorted(told) == sorted(TABLES)
    for page, text in PAGES.items():
        assert fill(text) == text, f"{page}: run `make results`"


def test_a_table_that_is_not_what_it_should_be_is_written_anew() -> None:
    text = "before\n<!-- results: kernel -->\n| 1 |\n<!-- end -->\nafter\n"
    assert fill(fill(text)) == fill(text) != text
    assert TABLES["kernel"]() in fill(text)


def test_a_budget_chooses_the_last_generation_within_it() -> None:
    for preset in BUDGETS:
        runs = lineages(preset, preset)
        assert len(runs) == 3
        for run in runs:
            for points in BUDGETS[preset]:
                chosen = last_within(run, points)
                drops = [100 * (run[0]["validation_score"] - row["validation_score"]) for row in run]
                assert drops[run.index(chosen)] <= points + 1e-9
                assert all(drop > points for drop in drops[run.index(chosen) + 1 :])


def test_the_makefile_measures_what_the_tables_tell() -> None:
    (line,) = re.findall(r"^HEREDITIES := (.*)$", MAKEFILE, re.MULTILINE)
    assert set(line.split()) == set(get_args(HeredityName))
    assert all(f"--against {quantity}" in MAKEFILE for quantity, _ in (*SPARSE, *SMALL))
    (text,) = re.findall(r"^ABLATIONS := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    made = dict(part.split(":") for part in text.replace("\\", " ").split())
    assert made == {name: fields.replace(" ", "+") for name, (_, fields) in ABLATIONS.items()}


def test_the_demo_s_figures_are_of_one_lineage_that_only_shrinks() -> None:
    (lineage,) = lineages("demo", "demo")
    assert [row["generation"] for row in lineage] == list(range(1, len(lineage) + 1))
    assert len(lineage) == compose(preset="demo").evolution.generations
    for field in ("synapses", "kernels", "stored_weights", "multiply_adds"):
        assert all(before[field] > after[field] for before, after in pairwise(lineage))


def test_every_preset_states_its_command_hardware_time_and_result_and_keeps_its_figures() -> None:
    for preset in preset_names():
        about = preset_table(preset)["about"]
        assert set(about) == {"command", "hardware", "time", "result"}
        assert "to be measured" not in " ".join(about.values())
        assert preset_records(preset)
