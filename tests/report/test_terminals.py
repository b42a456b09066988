"""Every table of every command on a real terminal (a pty) of 60, 80 and 120 columns, and in a pipe."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from terminals import on_terminal
from test_report import make_run
from test_variation import brood_run

from synevo.lineage.individuals import Counts, Individual, LayerCount
from synevo.plan.compose import compose
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

# The commands as they are, in one process, each after a line that names it.
IN_TURN = """
import json, sys
from synevo.cli.app import app
from synevo.cli.screens import write_anything
write_anything()
for words in json.loads(sys.argv[1]):
    print("$", *words, flush=True)
    if code := app(words, standalone_mode=False):
        sys.exit(code)
    sys.stdout.flush()
"""

COMMANDS = [
    ["report", "runs/large"],
    ["report", "runs/brood-0"],
    ["report", "runs"],
    ["report", "runs/brood-0", "runs/brood-1", "--summary"],
    ["report", "runs", "--against", "synapses"],
    ["runs"],
    ["presets", "brief"],
]
WIDTHS = (60, 80, 120)


def large(one: Individual, share: float) -> Individual:
    """An individual as large as VGG-16, whose numbers are long."""
    assert one.counts
    layers = (
        LayerCount("features/0/convolution/kernel", 3, 64, 192, int(1_728 * share), 1_728, 86_704_128),
        LayerCount(
            "classifier/0/kernel", 25_088, 4_096, 102_760_448, int(134_258_816 * share), 102_760_448, 15_383_560_192
        ),
    )
    return replace(one, counts=Counts(layers, 138_357_544))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of long numbers, a compacted one, and replicates with siblings."""
    home = tmp_path_factory.mktemp("terminals")
    small = make_run(home / "runs/small").load_lineage()
    run, plan = RunDir(home / "runs/large"), compose(sets=["seed=3", "ancestor.name=vgg16"])
    run.save_plan(plan)
    for one, share in zip(small.individuals, (1.0, 0.5, 0.01), strict=True):
        run.save_individual(large(one, share), plan, weights={}, masks={})
    for seed in (0, 1):
        brood_run(home / f"runs/brood-{seed}", seed)
    return home


def on_a_terminal(home: Path, width: int) -> str:
    """What the commands print on a pty of this width, without the codes for colours."""
    words = [sys.executable, "-c", IN_TURN, json.dumps(COMMANDS)]
    shown = on_terminal(words, width=width, height=50, folder=home)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r\n", "\n")


def by_command(shown: str) -> dict[str, str]:
    parts = re.split(r"^\$ (.*)$", shown, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_table_is_wider_than_the_terminal_and_no_number_is_cut(home: Path, width: int) -> None:
    said = by_command(on_a_terminal(home, width))
    assert list(said) == [" ".join(words) for words in COMMANDS]
    for words, shown in said.items():
        assert "…" not in shown, words
        if not words.startswith("presets"):  # the words about a preset are wrapped by the terminal
            assert [line for line in shown.splitlines() if cell_len(line) > width] == [], words
        assert "─────" in shown, f"{words} has tables"
    lineage = said["report runs/large"].partition("Layers")[0]
    rows = re.findall(r"^ *([123]\*?) +(\d\d\.\d\d) +(\d\d\.\d\d) (.*)$", lineage, re.MULTILINE)
    assert [(row[0], row[2]) for row in rows] == [("1", "98.00"), ("2*", "97.00"), ("3", "79.00")]
    whole = "134,260,544" in rows[0][3]
    assert whole or "134M" in rows[0][3]
    assert ("15,470,264,320" if whole else "15.5G") in rows[0][3]
    (header,) = [line for line in lineage.splitlines() if line.startswith("gen ")]
    assert (width < 120) == ("(family)" not in header)
    assert re.search(r"^brood-0 .* \d\d\.\d\d .* [\d.,]+", said["report runs"], re.MULTILINE), "a run with its score"


def test_a_pipe_gets_every_column(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(COMMANDS)],
        cwd=home,
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "60"},
        check=True,
    )
    shown = done.stdout.decode()
    assert "Left out" not in shown
    assert "…" not in shown
    assert "\x1b" not in shown
    assert re.search(r"134,260,544 .* 15,470,264,320 ", shown)
