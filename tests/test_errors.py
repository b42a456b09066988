"""Errors that a person can act on: what a text tells to do can be done, and a misspelled word is understood."""

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import filter as matching
from pathlib import Path
from typing import Any

import pytest
import typer

import synevo
from synevo.cli.app import app
from synevo.deploy.delivery import FORMATS
from synevo.errors import did_you_mean
from synevo.plan.compose import describe
from synevo.plan.fields import Plan
from synevo.plan.section import Section

ROOT = Path(__file__).parent.parent
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py")}

HOLE = "*"
"""Stands in a text for what it says of the case at hand."""

SECTIONS = "|".join(name for name, value in Plan() if isinstance(value, Section))
NAMES = {
    "command": r"(?:^|`|Next: |\*; )synevo ([a-z][\w-]*)",
    "option": r"(?<!pip install )(?<!tensorboard )(?<![\w-])(--[a-z][\w-]*)",
    "field": rf"--set ([\w.*]+)=|\b([a-z_]+\.[a-z_]+)=|\b((?:{SECTIONS})\.[a-z_]+)\b",
    "extra": r"\.\[([\w*-]+)\]",
    "part of the library": r"\bsynevo\.([A-Za-z]\w*)",
}
ILLUSTRATIONS = {"section.field"}
"""What stands for any field."""


def texts(source: str) -> Iterator[str]:
    """All sentences in a program that people may be shown; docstrings are for those who read the source."""
    tree = ast.parse(source)
    apart = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            apart |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            yield node.value


def sentences(source: str) -> Iterator[str]:
    """Those of the texts that have several words; a single one is the program's own."""
    return (text for text in texts(source) if " " in text)


def named(kind: str, text: str) -> set[str]:
    """The names of a kind that a text tells its reader."""
    found = {name for match in re.finditer(NAMES[kind], text) for name in match.groups() if name}
    return found - ILLUSTRATIONS


def options_of(command: Any) -> set[str]:
    return {"--help"} | {name for one in command.params for name in (*one.opts, *one.secondary_opts)}


COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = {name: options_of(command) for name, command in COMMANDS.items()}
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
EXISTS: dict[str, Callable[[str], bool]] = {
    "command": lambda name: name in COMMANDS,
    "option": lambda name: any(name in options for options in OPTIONS.values()),
    "field": lambda name: bool(matching(describe(), name)),
    "extra": lambda name: bool(matching(EXTRAS, name)),
    "part of the library": lambda name: hasattr(synevo, name),
}


def strangers(text: str) -> set[str]:
    """The names in a text of what does not exist, and the options that the command beside them does not have."""
    unknown = {name for kind, exists in EXISTS.items() for name in named(kind, text) if not exists(name)}
    for command, words in re.findall(r"`synevo ([a-z][\w-]*)([^`]*)`", text):
        unknown |= named("option", words) - OPTIONS.get(command, set())
    return unknown


def test_every_command_option_field_and_extra_that_a_text_of_synevo_names_exists() -> None:
    unknown = {
        (module, name) for module, source in SOURCES.items() for text in sentences(source) for name in strangers(text)
    }
    assert unknown == set()
    assert {format_.extra for format_ in FORMATS.values()} - {None} <= EXTRAS, "exporting names them"


def test_the_texts_of_synevo_name_some_of_every_kind() -> None:
    """Else the law above would hold of nothing."""
    told = [text for source in SOURCES.values() for text in sentences(source)]
    found = {kind: set().union(*(named(kind, text) for text in told)) for kind in NAMES}
    assert {"train-ancestor", "evolve", "compact", "report", "verify"} <= found["command"]
    assert {"--set", "--run", "--output", "--to", "--data-dir", "--cluster"} <= found["option"]
    assert {"training.learning_rate", "data.fit", "evolution.rewind", "*.shift", "seed"} <= found["field"]
    assert {"prepare", "tensorboard", "*"} <= found["extra"]
    assert {"keep_dead", "load", "Task"} <= found["part of the library"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Run `synevo polish` first.", "polish"),
        ("Next: synevo shrink {run.path}; synevo report {run.path}", "shrink"),
        ("Choose a folder with --folder DIR.", "--folder"),
        ("`synevo verify --to onnx` checks it.", "--to"),
        ("Lower --set training.rate={rate / 4:g}.", "training.rate"),
        ("Choose --set data.fit=pad or trainings.shift=0.", "trainings.shift"),
        ("Leave it: --set {section}.shifts=0.", "*.shifts"),
        ("training.distil must be 0", "training.distil"),
        ("pip install '.[tflit]', then again.", "tflit"),
        ("Train it with synevo.keep_alive(living).", "keep_alive"),
    ],
)
@pytest.mark.parametrize("written", ["raise RunError('', remedy=f{0!r})", "_REMEDY = f{0!r}", "fail(1 and f{0!r})"])
def test_a_text_that_names_what_does_not_exist_is_found(text: str, wrong: str, written: str) -> None:
    (found,) = (strangers(text) for text in sentences(written.format(text)))
    assert found == {wrong}


@pytest.mark.parametrize(
    "text",
    [
        "Run `synevo export --to onnx`, or pip install --upgrade synevo.",
        "tensorboard --logdir {run.path} shows it; synevo writes no more.",
        "Write --set section.field=value, for example --set seed=1.",
        "See https://www.tensorflow.org/datasets - it is not synevo's.",
    ],
)
def test_a_text_whose_names_all_exist_or_are_those_of_other_programs_is_let_be(text: str) -> None:
    assert strangers(text) == set()


@pytest.mark.parametrize("word", ["onx", "ONNX", "onnx", "onnxx", "nonx"])
def test_a_word_is_answered_with_the_known_one_that_is_like_it(word: str) -> None:
    assert did_you_mean(word, ["safetensors", "onnx", "tflite"]) == " Did you mean 'onnx'?"


@pytest.mark.parametrize("word", ["", "keras", "x", "zzz"])
def test_a_word_unlike_any_gets_no_suggestion(word: str) -> None:
    assert did_you_mean(word, ["safetensors", "onnx", "tflite"]) == ""
    assert did_you_mean(word, []) == ""


def test_a_suggestion_is_written_as_it_is_known_or_in_full() -> None:
    assert did_you_mean("lenet5", ["LeNet5"]) == " Did you mean 'LeNet5'?"
    assert did_you_mean("shrap", ["sharp"], in_full={"sharp": "runs/sharp"}) == " Did you mean 'runs/sharp'?"
