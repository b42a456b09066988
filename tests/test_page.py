"""The page in a real browser: it opens from a file, asks for nothing, complains of nothing, and shows the numbers."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_report import Cells, make_run

from synevo.report.figures import drawing_problem
from synevo.report.page import render_page
from synevo.report.summary import summarise
from synevo.rundir import save_report

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

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt-get install chromium)")

SECTIONS = ("headline", "curves", "lineage", "network", "survival", "kernels", "outcomes", "cost", "proof", "record")

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
  const box = heat.getBoundingClientRect();
  heat.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: box.right - 2, clientY: box.bottom - 2}));
  seen.hover = document.getElementById("tip").textContent;
  const mark = document.querySelector("figure .wide svg [role='graphics-symbol'][aria-label^='generation']");
  if (mark) mark.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: 5, clientY: 5}));
  seen.mark = document.getElementById("tip").textContent;
  const unnamed = document.querySelectorAll("img:not([alt]), button:empty, section:not([aria-labelledby])");
  seen.unnamed = unnamed.length;
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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its page, beside a copy of the page that also says what it sees of itself."""
    run = make_run(tmp_path_factory.mktemp("page") / "run <1>")
    summary = summarise(run)
    page = render_page(run, summary)
    save_report(run.path / "report", page, summary)
    (run.path / "report" / "probed.html").write_text(page.replace("</body>", f"{PROBE}</body>"))
    return run.path / "report"


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_opens_whole_and_asks_for_nothing(place: Path, tmp_path: Path, width: int) -> None:
    dom, said = visit(place / "probed.html", tmp_path, width=width)
    complaints = [line for line in said.splitlines() if "CONSOLE" in line]
    assert complaints == []
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found, "the page's script did not run to its end"
    seen = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">"))
    assert [name for name in seen["requests"] if not name.startswith("data:")] == []
    assert tuple(seen["sections"]) == SECTIONS
    assert seen["images"]
    assert all(seen["images"])
    assert seen["overflow"] <= 0, "the page is wider than the window"
    assert seen["unnamed"] == 0
    assert seen["hover"] == "generation 3, filter 3: extinct"
    if drawing_problem() is None:
        assert seen["mark"].startswith("generation 1: 1.00×, test 98.00 %")


def test_what_the_browser_shows_is_what_the_json_says(place: Path, tmp_path: Path) -> None:
    dom, _ = visit(place / "index.html", tmp_path)
    summary = json.loads((place / "report.json").read_text())
    cells = Cells("generations")
    cells.feed(dom)
    fields = ("validation_accuracy", "test_accuracy", "synapses", "synaptic_efficiency", "kernels")
    rows = [[float(value) for value in row[:5]] for row in cells.rows if row]
    assert rows == [[row[field] for field in fields] for row in summary["generations"]]
    assert "main" in cells.tags
    if drawing_problem() is None:
        assert "svg" in cells.tags
