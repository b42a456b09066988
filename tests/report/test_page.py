"""The page in a real browser: it opens from a file, asks for nothing, complains of nothing, and shows the numbers.

A made-up run shows what is rare, and a short lineage of MNIST what is real.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_report import Cells, make_run

from synevo.plan.compose import compose
from synevo.report.comparison import compare
from synevo.report.page.html import render_comparison, render_page
from synevo.report.summary import summarise
from synevo.runs.rundir import save_report

REAL = Path(os.environ.get("TFDS_DATA_DIR", "nowhere"))
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt-get install chromium)"),
]

SECTIONS = ("headline", "network", "survival", "curves", "outcomes", "lineage", "kernels", "cost", "proof", "record")

PROBE = """
<script>
addEventListener("load", () => {
  const seen = {};
  seen.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  const sections = [...document.querySelectorAll("main > section")];
  seen.sections = sections.filter((one) => one.offsetHeight > 40).map((one) => one.id);
  seen.images = [...document.images].map((image) => image.complete && image.naturalWidth > 0);
  seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const heat = document.querySelector("img.heat");
  if (heat) {
    const box = heat.getBoundingClientRect();
    const corner = {bubbles: true, clientX: box.right - 2, clientY: box.bottom - 2};
    heat.dispatchEvent(new PointerEvent("pointermove", corner));
  }
  seen.hover = document.getElementById("tip").textContent;
  const mark = document.querySelector("figure .wide svg [role='graphics-symbol'][aria-label^='generation']");
  if (mark) mark.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: 5, clientY: 5}));
  seen.mark = document.getElementById("tip").textContent;
  const shown = (cells) => [...cells].map((cell) => Number(cell.dataset.v));
  seen.stats = shown(document.querySelectorAll(".stats dd[data-v]"));
  seen.costs = [...document.querySelectorAll("#costs tbody tr")].map((row) => shown(row.querySelectorAll("[data-v]")));
  const truths = [...document.querySelectorAll(".confusion tbody tr")];
  seen.confusion = truths.map((row) => shown(row.querySelectorAll("td")));
  const unnamed = document.querySelectorAll("img:not([alt]), button:empty, section:not([aria-labelledby])");
  seen.unnamed = unnamed.length;
  const press = (element, key) => element.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  const said = () => document.getElementById("tip").textContent;
  const shape = innerWidth > 600 ? ".wide" : ".narrow";
  const reached = document.querySelector(`.switch .choice:not([hidden]) ${shape} [tabindex="0"]`);
  if (reached) {
    reached.focus();
    seen.keys = [said()];
    press(reached, "ArrowRight");
    seen.keys.push(said(), document.activeElement.getAttribute("aria-label"));
    press(document.activeElement, "ArrowLeft");
    seen.keys.push(document.activeElement === reached);
  }
  if (heat) {
    heat.focus();
    press(heat, "ArrowDown");
    seen.cell = said();
    press(heat, "Escape");
    seen.closed = document.getElementById("tip").hidden;
  }
  const radios = document.querySelectorAll(".switch input");
  if (radios.length) radios[1].click();
  seen.choices = [...document.querySelectorAll(".switch .choice")].map((choice) => choice.offsetHeight > 40);
  document.getElementById("tip").textContent = "";
  document.body.dataset.seen = JSON.stringify(seen);
});
</script>
"""


def visit(page: Path, tmp_path: Path, *, width: int = 1280) -> tuple[str, str]:
    """The page as the browser has it in the end, and what the browser had to say."""
    assert BROWSER is not None
    profile = tmp_path / f"profile-{width}"
    size = [f"--user-data-dir={profile}", f"--window-size={width},900", "--virtual-time-budget=3000"]
    command = [BROWSER, *FLAGS, *size, "--dump-dom", page.as_uri()]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def probed(page: str) -> str:
    """The page, also saying what it sees of itself."""
    return page.replace("</body>", f"{PROBE}</body>")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its page, beside a copy of the page that also says what it sees of itself."""
    run = make_run(tmp_path_factory.mktemp("page") / "run <1>")
    summary = summarise(run)
    page = render_page(run, summary)
    save_report(run.path / "report", page, summary)
    (run.path / "report" / "probed.html").write_text(probed(page))
    return run.path / "report"


PLAN = [
    *("ancestor_training.epochs=1", "ancestor_training.batch_size=256", "ancestor_training.learning_rate=0.005"),
    *("training.epochs=1", "training.batch_size=256", "training.learning_rate=0.005"),
    *("evolution.generations=3", "evolution.max_drop=0.5", "environment.keep_synapses=0.6"),
    *("encoding.cluster=filter", "encoding.cluster_sharpness=20", "encoding.synapse_sharpness=20"),
    *("environment.keep_clusters=0.85", "data.image_size=14", "data.fit=resize"),
]
START = [
    "train-ancestor",
    "--run",
    "run",
    "--dataset",
    "mnist",
    "--data-dir",
    str(REAL),
    "--ancestor",
    "specimens:Tiny",
]
START += [part for field in PLAN for part in ("--set", field)]

# The commands as they are, in one process, so that JAX is loaded once.
IN_TURN = "import sys, json\nfrom synevo.cli.app import app\n"
IN_TURN += "for words in json.load(sys.stdin): app(words, standalone_mode=False)"


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a short lineage of MNIST, evolved and compacted here, beside its probing copy."""
    if not (REAL / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR names no folder that holds mnist")
    home = tmp_path_factory.mktemp("mnist")
    commands = [START, ["evolve", "run"], ["compact", "run", "--round-to", "none"], ["report", "run", "--html"]]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN],
        input=json.dumps(commands),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    folder = home / "run" / "report"
    (folder / "probed.html").write_text(probed((folder / "index.html").read_text()))
    return folder


def look(page: Path, tmp_path: Path, width: int) -> tuple[dict[str, Any], str]:
    """What a page sees of itself in a window of a width, and the page as it is in the end."""
    dom, said = visit(page, tmp_path, width=width)
    complaints = [line for line in said.splitlines() if "CONSOLE" in line]
    assert complaints == []
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found, "the page's script did not run to its end"
    seen: dict[str, Any] = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">"))
    assert [name for name in seen["requests"] if not name.startswith("data:")] == []
    assert all(seen["images"])
    assert seen["overflow"] <= 0, "the page is wider than the window"
    assert seen["unnamed"] == 0
    return seen, dom


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_opens_whole_and_asks_for_nothing(place: Path, tmp_path: Path, width: int) -> None:
    seen, _ = look(place / "probed.html", tmp_path, width)
    assert tuple(seen["sections"]) == SECTIONS
    assert seen["images"]
    assert seen["hover"] == "generation 3, filter 3: extinct"
    assert seen["mark"].startswith("generation 1: 1.00×, test 98.00 %")
    assert seen["keys"] == ["generation 1: 1.00×, test 98.00 %", *["generation 2: 1.83×, test 97.00 %"] * 2, True]
    assert seen["cell"] == "generation 2, filter 0: 100 % of its synapses alive"
    assert seen["closed"]
    assert seen["choices"] == [False, True, False, False], "the second axis was chosen"


def test_a_printed_page_has_at_most_four_sheets(place: Path, tmp_path: Path) -> None:
    assert 1 <= sheets_of(place / "index.html", tmp_path) <= 4


def sheets_of(page: Path, tmp_path: Path) -> int:
    """The number of sheets of paper that a page takes."""
    assert BROWSER is not None
    sheets, size = tmp_path / "page.pdf", [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000"]
    command = [BROWSER, *FLAGS, *size, f"--print-to-pdf={sheets}", page.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=600, env={**os.environ, "HOME": str(tmp_path)})
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", sheets.read_bytes()))


def test_the_page_of_several_runs_opens_whole_and_shows_the_means_of_the_json(tmp_path: Path) -> None:
    plans = [
        compose(sets=[f"seed={seed}", f"encoding.cluster={kind}"]) for kind in ("kernel", "filter") for seed in (0, 1)
    ]
    found = compare([summarise(make_run(tmp_path / f"<b>{place}", plan)) for place, plan in enumerate(plans)])
    page = tmp_path / "several.html"
    page.write_text(probed(render_comparison(found)))
    seen, dom = look(page, tmp_path, 500)
    assert seen["sections"] == ["front", "curves", "runs", "differences"]
    shown = Cells("budgets")
    shown.feed(dom)
    fields = ("test_score", "test_change", "synaptic_efficiency", "cluster_efficiency", "multiply_adds", "epochs")
    assert [[float(value) for value in row[:7]] for row in shown.rows if row] == [
        [row["max_drop"], *(row[field]["mean"] for field in fields)]
        for group in found["groups"]
        for row in group["budgets"]
    ]
    assert len(found["groups"]) == 2
    assert 1 <= sheets_of(page, tmp_path) <= 4


def rows_of(dom: str) -> list[list[float]]:
    """The first numbers of each row of the table of the lineage."""
    cells = Cells("generations")
    cells.feed(dom)
    assert "main" in cells.tags
    assert "svg" in cells.tags
    return [[float(value) for value in row[: len(FIELDS)]] for row in cells.rows if row]


FIELDS = ("validation_score", "test_score", "synapses", "synaptic_efficiency", "kernels")


def test_what_the_browser_shows_is_what_the_json_says(place: Path, tmp_path: Path) -> None:
    dom, _ = visit(place / "index.html", tmp_path)
    summary = json.loads((place / "report.json").read_text())
    assert rows_of(dom) == [[row[field] for field in FIELDS] for row in summary["generations"]]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_of_a_lineage_of_mnist_shows_the_numbers_of_the_json(mnist: Path, tmp_path: Path, width: int) -> None:
    seen, dom = look(mnist / "probed.html", tmp_path, width)
    assert tuple(seen["sections"]) == SECTIONS
    command = [sys.executable, "-m", "synevo", "report", str(mnist.parent), "--json"]
    (summary,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["summaries"]
    assert summary["dataset"] == "mnist"
    assert [row["generation"] for row in summary["generations"]] == [1, 2, 3]
    assert summary["generations"][0]["test_score"] > 0.8
    assert summary["missing"] == []
    assert rows_of(dom) == [[row[field] for field in FIELDS] for row in summary["generations"]]
    best, compact = summary["generations"][summary["best"] - 1], summary["compact"]
    latency = {name: compact["latency_ms"][name]["1"] for name in ("ancestor", "masked", "compact")}
    assert seen["stats"] == [
        best["synaptic_efficiency"],
        best["test_score"],
        pytest.approx(summary["generations"][0]["multiply_adds"] / best["multiply_adds"]),
        compact["top1_agreement"],
    ]
    counted = [[compact[name]] for name in ("synapses", "kernels", "parameters", "multiply_adds", "bytes")]
    assert seen["costs"][:6] == [*counted, list(latency.values())]
    confusion = summary["outcomes"]["best_confusion"]
    assert seen["confusion"] == confusion
    assert sum(map(sum, confusion)) == 10_000
    assert dom.count(' of the ancestor"') == 6, "the filters of the first layer"
