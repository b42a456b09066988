"""`make installs`: what it asks pip for, that its main path is one, and that a failure is one."""

import sys
from pathlib import Path

import installs
import pytest
from packaging.requirements import Requirement
from test_readme import parse


@pytest.mark.parametrize("requirement", installs.PROJECT["dependencies"])
def test_the_oldest_release_of_a_range_is_within_it(requirement: str) -> None:
    (pin,) = installs.oldest([requirement])
    version = next(iter(Requirement(pin).specifier)).version
    assert Requirement(requirement).specifier.contains(version)


def test_a_dependency_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="numpy has no lower bound"):
        installs.oldest(["jax>=0.10,<0.13", "numpy"])


@pytest.mark.parametrize("command", [words for words in installs.PATH if words[0] == "synevo"])
def test_the_main_path_is_made_of_commands(command: tuple[str, ...]) -> None:
    parse(" ".join(command))


def test_this_python_is_one_of_those_tried() -> None:
    version = f"3.{sys.version_info.minor}"
    assert version in installs.pythons()
    assert installs.interpreter(version) is not None
    assert installs.interpreter("3.0") is None


def test_what_only_one_dependency_leads_to_is_its_own() -> None:
    held = installs.installed(next(Path(path) for path in sys.path if (Path(path) / "jax").is_dir()))
    everything = installs.needed(installs.PROJECT["dependencies"], held)
    assert {"jax", "jaxlib", "scipy", "etils", "markupsafe"} <= everything, "etils is an extra's way to others"
    rows = {name: (packages, size) for name, packages, size in installs.alone(held)}
    assert rows["jax"] == (0, 0), "Flax and Optax need it, too"
    assert rows["jinja2"][0] == 2, "with MarkupSafe"
    assert rows["vl-convert-python"][1] > 50 * installs.MB


def test_a_trial_that_fails_is_a_row_and_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise installs.Failed("synevo doctor\nno")

    monkeypatch.setattr(installs, "tried", fails)
    monkeypatch.setattr(installs, "wheel", lambda folder: folder / "synevo.whl")
    assert installs.main(["--pythons", f"3.{sys.version_info.minor}", "3.0"]) == 1
    said = capsys.readouterr().out
    assert said.count("FAILS: synevo doctor") == 2
    assert "not on this machine" in said
