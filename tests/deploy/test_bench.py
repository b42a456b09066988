"""The bench says what it measured, for which networks, and what became of what was saved."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.deploy.engines.bench import share
from synevo.runs import compacting
from synevo.runs.documents import load_bench
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

FORMS = "jax,onnx,onnx-int8,c"


@pytest.fixture(scope="module")
def run(finished: RunDir, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The finished run, after its bench."""
    shutil.copytree(finished.path, path := tmp_path_factory.mktemp("bench") / "run")
    return RunDir(path)


@pytest.fixture(scope="module")
def found(run: RunDir) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["bench", str(run.path), "--forms", FORMS, "--rounds", "2", "--json"])
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)["benches"]
    return one


def test_every_network_in_every_form_is_scored_as_its_source_and_timed(found: dict[str, Any]) -> None:
    rows = {(row["form"], row["network"]): row for row in found["rows"]}
    here = [name for name in FORMS.split(",") if name != "c" or shutil.which("cc")]
    assert list(rows) == [(form, who) for form in here for who in ("ancestor", "masked", "compact")]
    for (form, _), row in rows.items():
        assert set(row["latency_ms"]) == {"1", "256"}
        assert all(timing["lower"] <= timing["median"] <= timing["upper"] for timing in row["latency_ms"].values())
        if form != "onnx-int8":
            assert row["score"] == row["source_score"]
            assert row["max_difference"] <= 1e-5 * row["largest_output"]
        assert (row["bytes"] is None) == (form == "jax")
        assert row["threads"] == 1
    assert rows["onnx", "compact"]["bytes"] < rows["onnx", "masked"]["bytes"]


def test_multiply_adds_are_those_of_the_counts_and_of_living_synapses_alone(run: RunDir, found: dict[str, Any]) -> None:
    ancestor, best = (one.counts for one in run.load_lineage().individuals)
    assert ancestor is not None
    assert best is not None
    places = [layer.multiply_adds / layer.stored_weights for layer in best.layers]
    living = sum(layer.synapses * count for layer, count in zip(best.layers, places, strict=True))
    assert found["multiply_adds"] == {
        "ancestor": {"living": ancestor.multiply_adds, "stored": ancestor.multiply_adds},
        "masked": {"living": living, "stored": ancestor.multiply_adds},
        "compact": {"living": living, "stored": best.multiply_adds},
    }


def test_a_share_of_the_saving_became_time() -> None:
    costs = {"ancestor": {"stored": 100, "living": 100}, "compact": {"stored": 20, "living": 100}}
    assert share(10.0, 2.0, costs, "stored") == 1
    assert share(10.0, 6.0, costs, "stored") == pytest.approx(0.5)
    assert share(10.0, 12.0, costs, "stored") == pytest.approx(-0.25)
    assert share(10.0, 6.0, costs, "living") is None


def test_the_shares_of_a_form_are_those_of_its_times(found: dict[str, Any]) -> None:
    for form in found["forms"]:
        own = {row["network"]: row["latency_ms"] for row in found["rows"] if row["form"] == form["form"]}
        for batch in ("1", "256"):
            before, after = (own[who][batch]["median"] for who in ("ancestor", "compact"))
            assert form["faster"][batch] == pytest.approx(before / after)
            assert form["share"][batch]["stored"] == share(before, after, found["multiply_adds"], "stored")


def test_the_bench_is_kept_shown_on_the_page_and_gone_with_the_network(
    run: RunDir, found: dict[str, Any], tmp_path: Path
) -> None:
    assert load_bench(run, 2) == found
    shutil.copytree(run.path, tmp_path / "run")
    words = ["report", str(tmp_path / "run"), "--json", "--output", str(tmp_path / "page")]
    done = CliRunner().invoke(app, words)
    assert json.loads(done.stdout)["summaries"][0]["bench"] == found
    page = (tmp_path / "page" / "index.html").read_text()
    (table,) = (part.partition("</table>")[0] for part in page.split('<table id="bench">')[1:])
    assert table.count("<tr>") == 1 + len(found["rows"])
    again = RunDir(tmp_path / "run")
    kept = again.path / "bench/g02.json"
    whole = kept.read_text()
    kept.write_text(whole.replace('"median"', '"mean"', 1))
    damaged = json.loads(CliRunner().invoke(app, words).stdout)["summaries"][0]
    assert damaged["bench"] is None
    assert [gap["part"] for gap in damaged["missing"]] == ["bench"]
    kept.write_text(whole)
    compacting.compact(again, again.load_plan(), round_to=8)
    assert load_bench(again, 2) is None
    page = CliRunner().invoke(app, ["report", str(again.path), "--output", str(tmp_path / "after")])
    assert 'id="bench"' not in (tmp_path / "after" / "index.html").read_text(), page.stderr


def test_a_table_and_a_sheet_say_what_is_missing_and_why(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    words = ["bench", str(run.path), "--forms", "onnx,c", "--rounds", "2"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "Left out: C: C cannot be used: no C compiler (cc)." in said.stdout
    assert "Engines: ONNX Runtime " in said.stdout
    sheet = CliRunner().invoke(app, [*words, "--csv"])
    rows = list(csv.DictReader(io.StringIO(sheet.stdout)))
    assert [row["network"] for row in rows] == ["ancestor", "masked", "compact"]
    assert np.isfinite(float(rows[2]["stored_share_at_batch_256"]))
    assert rows[0]["stored_share_at_batch_256"] == ""


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--forms", "onx"], "there is no form 'onx'. Did you mean 'onnx'?"),
        (["--json", "--csv"], "--json and --csv both print to stdout"),
        (["--threads", "0"], "Invalid value for '--threads'"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: list[str], problem: str, finished: RunDir) -> None:
    done = CliRunner().invoke(app, ["bench", str(finished.path), *words])
    assert done.exit_code == 2
    assert problem in done.stderr


def test_a_run_without_a_compacted_network_has_nothing_to_measure(finished: RunDir, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "compact")
    done = CliRunner().invoke(app, ["bench", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "Make one with `synevo compact" in done.stderr
