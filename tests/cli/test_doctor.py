"""The doctor tells what works from what is missing and from what fails, and waits for nothing forever."""

import json
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import synevo
from synevo.cli.app import app
from synevo.deploy.engines import checkup
from synevo.deploy.engines.forms import FORMS
from synevo.errors import ExportError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # TensorFlow's own


def test_engines_are_seen_to_work_or_said_to_be_missing() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["form"] for one in found["engines"]] == list(FORMS)
    states = {one["form"]: one["state"] for one in found["engines"]}
    assert {states[name] for name in ("jax", "stablehlo", "onnx", "onnx-int8")} == {"works"}
    assert all(one["said"] for one in found["engines"] if one["state"] != "works")
    assert found["synevo"] == synevo.__version__
    assert found["devices"] >= 1
    assert all(one["free_bytes"] > 0 for one in found["disk"])
    assert all(one["bytes"] >= 0 for one in found["caches"])


def test_an_engine_that_raises_or_says_something_else_fails_and_the_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = checkup.open_form

    def opened(form: str, *words: Any, **names: Any) -> Any:
        if form == "onnx":
            raise ExportError("It is broken.\nBadly.", remedy="")
        if form == "stablehlo":
            run = right(form, *words, **names).run
            return type("Wrong", (), {"run": staticmethod(lambda *leaves: run(*leaves) + 1)})
        return right(form, *words, **names)

    monkeypatch.setattr(checkup, "open_form", opened)
    monkeypatch.setattr(checkup, "FORMS", {name: FORMS[name] for name in ("jax", "stablehlo", "onnx")})
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith(("  ok ", "  FAILS "))}
    assert lines["JAX"].startswith("  ok")
    assert lines["ONNX"] == "  FAILS   ONNX in ONNX Runtime: It is broken."
    assert "its outputs differ from JAX's by" in lines["StableHLO"]


def test_a_test_that_does_not_end_is_given_up() -> None:
    ended = threading.Event()
    assert checkup.within(0.05, lambda: str(ended.wait())) == "no answer within 0.05 seconds"
    ended.set()


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    names = project["project"]["optional-dependencies"]
    packages = {extra: tuple(part.partition(">=")[0] for part in parts) for extra, parts in names.items()}
    assert packages == checkup.EXTRAS
