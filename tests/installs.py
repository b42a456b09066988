"""Install synevo's wheel in fresh environments, and walk its main path there; `make installs` prints a table of it.

Every Python that synevo names as a classifier is tried twice: with the oldest release of each declared range, and with
the newest. A Python that this machine lacks is said to be missing. With `--extras`, each extra is added to an
environment of its own instead, and the table says what it takes; before it stands what each dependency alone brings.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MB = 1_000_000
PLAIN = "synevo"

SEVEN = """
import synevo
from PIL import Image, ImageDraw
image = Image.new("L", (8, 8))
ImageDraw.Draw(image).line([(1, 1), (6, 1), (3, 6)], 255)
image.save("seven.png")
"""
LOAD = """
import numpy as np, synevo
logits = synevo.load("runs/small")(np.zeros((2, 32, 32, 1), np.float32))
assert logits.shape == (2, 10), logits.shape
"""
PATH = (
    ("synevo", "doctor"),
    ("synevo", "train-ancestor", "--preset", "demo", "--run", "runs/small", "--set", "ancestor_training.epochs=3"),
    ("synevo", "evolve", "runs/small", "--generations", "2", "--set", "training.epochs=1"),
    ("synevo", "compact", "runs/small"),
    ("synevo", "export", "runs/small", "--to", "onnx"),
    ("synevo", "report", "runs/small", "--html"),
    ("python", "-c", SEVEN),
    ("synevo", "predict", "runs/small", "seven.png"),
    ("python", "-c", LOAD),
)


class Failed(Exception):  # noqa: N818 (a command failed, not this script)
    """A command in an environment ended with an error; its last lines are the message."""


class Trial(NamedTuple):
    """One environment to try: its row of the table, its interpreter, and what pip is asked for."""

    row: tuple[str, ...]
    interpreter: Path
    wanted: tuple[str, ...]
    walk: bool = True


def oldest(requirements: Iterable[str]) -> list[str]:
    """Return the oldest release of each range, `name==lower`; ValueError where a range has no lower bound."""
    pins = []
    for requirement in requirements:
        found = re.match(r"([\w.-]+)>=([\w.]+)", requirement)
        if found is None:
            raise ValueError(f"{requirement} has no lower bound.")
        pins.append(f"{found[1]}=={found[2]}")
    return pins


def pythons() -> list[str]:
    """Return the versions of Python that synevo is made for, as its classifiers name them."""
    found = (re.search(r":: (3\.\d+)$", text) for text in PROJECT["classifiers"])
    return [one[1] for one in found if one]


def interpreter(version: str) -> Path | None:
    """Return the interpreter of a version: the one on the path that runs, or pyenv's newest; None where there is none.

    pyenv puts a program on the path that refuses to run while another version is chosen.
    """
    kept = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    named = [shutil.which(f"python{version}"), *sorted(map(str, kept.glob(f"{version}.*/bin/python")), reverse=True)]
    for path in filter(None, named):
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return Path(path)
    return None


def run(command: Iterable[str | Path], folder: Path) -> None:
    """Run a command in a folder; raise Failed with what it said last unless it ends well."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)[:200]}\n{(done.stdout + done.stderr)[-2000:]}")


def wheel(folder: Path) -> Path:
    """Build the wheel into a folder and return it."""
    run((sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT), folder)
    return next(folder.glob("synevo-*.whl"))


def installed(packages: Path) -> dict[str, Distribution]:
    """Return what an environment holds, by name, without pip."""
    found = {canonicalize_name(one.metadata["Name"]): one for one in distributions(path=[str(packages)])}
    return {name: one for name, one in found.items() if name not in {"pip", "setuptools"}}


def needed(requirements: Iterable[str], held: Mapping[str, Distribution]) -> set[str]:
    """Return the names of all that requirements lead to, of what an environment holds."""
    waiting = [(Requirement(one), "") for one in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in held or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        for brought in ("", *requirement.extras):
            if (name, brought) not in seen:
                seen.add((name, brought))
                waiting += [(Requirement(one), brought) for one in held[name].requires or ()]
    return {name for name, _ in seen}


def alone(held: Mapping[str, Distribution]) -> list[tuple[str, int, int]]:
    """Return what only one dependency of synevo leads to: its name, the number of packages and their bytes."""
    wanted = PROJECT["dependencies"]
    found = []
    for one in wanted:
        others = needed((other for other in wanted if other != one), held)
        brought = needed(wanted, held) - others
        size = sum(_bytes(held[name]) for name in brought)
        found.append((Requirement(one).name, len(brought), size))
    return sorted(found, key=lambda row: -row[2])


def _bytes(package: Distribution) -> int:
    files = (Path(str(package.locate_file(file))) for file in package.files or ())
    return sum(file.lstat().st_size for file in files if file.is_file())


def weight(packages: Path) -> int:
    """Return the bytes of all files that an environment holds, without pip."""
    mine = (path for path in packages.rglob("*") if path.relative_to(packages).parts[0].split("-")[0] != "pip")
    return sum(path.lstat().st_size for path in mine if not path.is_dir())


def tried(trial: Trial, folder: Path) -> tuple[dict[str, Distribution], int, float]:
    """Install in a fresh environment and walk the main path; return what is installed, its bytes, and the seconds."""
    start = time.perf_counter()
    run((trial.interpreter, "-m", "venv", folder / "venv"), folder)
    python = folder / "venv/bin/python"
    pip = (python, "-m", "pip", "install", "--quiet", "--prefer-binary", "--disable-pip-version-check")
    run((*pip, *trial.wanted), folder)
    packages = next((folder / "venv/lib").glob("python*/site-packages"))
    held, size = installed(packages), weight(packages)
    for program, *words in PATH if trial.walk else ():
        run((python.with_name(program), *words), folder)
    return held, size, time.perf_counter() - start


def by_version(built: Path, versions: list[str]) -> list[Trial | tuple[str, ...]]:
    """Return two trials for each Python, the oldest and the newest of all ranges, and a row where there is none."""
    trials: list[Trial | tuple[str, ...]] = []
    for version in versions:
        found = interpreter(version)
        if found is None:
            trials.append((version, "–", "not on this machine"))
            continue
        trials.append(Trial((version, "oldest"), found, (str(built), *oldest(PROJECT["dependencies"]))))
        trials.append(Trial((version, "newest"), found, (str(built),)))
    return trials


def by_extra(built: Path, versions: list[str]) -> list[Trial | tuple[str, ...]]:
    """Return a trial for the plain install and for each extra, in the first Python that is here; no path is walked."""
    version, found = next((version, found) for version in versions if (found := interpreter(version)))
    extras = ("", *(f"[{extra}]" for extra in PROJECT["optional-dependencies"]))
    return [Trial((version, f"{PLAIN}{extra}"), found, (f"{built}{extra}",), walk=False) for extra in extras]


def main(arguments: list[str]) -> int:
    """Try all that is asked for, print a line for each, and return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--extras", action="store_true", help="what each extra brings, instead of the main path")
    parser.add_argument("--pythons", nargs="+", default=pythons(), help="versions, such as 3.12")
    chosen = parser.parse_args(arguments)
    choose: Callable[[Path, list[str]], list[Trial | tuple[str, ...]]] = by_extra if chosen.extras else by_version
    failed, plain = 0, (0, 0)
    _print("Python", "what", "jax", "flax", "optax", "packages", "MB", "seconds")
    with tempfile.TemporaryDirectory(prefix="synevo-") as made:
        for number, trial in enumerate(choose(wheel(Path(made)), chosen.pythons)):
            if not isinstance(trial, Trial):
                _print(*trial)
                continue
            folder = Path(made) / str(number)
            folder.mkdir()
            try:
                held, size, seconds = tried(trial, folder)
            except Failed as problem:
                failed = 1
                _print(*trial.row, f"FAILS: {problem}")
            else:
                versions = (held[name].version for name in ("jax", "flax", "optax"))
                _print(*trial.row, *versions, str(len(held)), f"{size / MB:.0f}", f"{seconds:.0f}")
                if trial.row[1] == PLAIN:
                    plain = len(held), size
                    _print_alone(alone(held))
                elif chosen.extras:
                    print(f"  adds {len(held) - plain[0]} packages, {(size - plain[1]) / MB:.1f} MB", flush=True)
            shutil.rmtree(folder)
    return failed


def _print_alone(rows: list[tuple[str, int, int]]) -> None:
    print("  Nothing else needs these:")
    for name, packages, size in rows:
        if packages:
            print(f"    {name}: {packages} package{'s' if packages > 1 else ''}, {size / MB:.1f} MB", flush=True)


def _print(*cells: str) -> None:
    print(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, (6, 19, 8, 8, 8, 8, 6, 7), strict=False)), flush=True
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
