"""What a report says: the same numbers in JSON, CSV and on the page, of whole and of damaged runs, and nothing else."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from specimens import individual

from synevo.errors import RunError
from synevo.lineage.individuals import Counts, Individual
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.report.comparison import compare
from synevo.report.levels import levels
from synevo.report.page.card import card
from synevo.report.page.figures import KINDS
from synevo.report.page.html import render_comparison, render_page
from synevo.report.page.several import _clouds, front, parallel, pareto
from synevo.report.page.tree import tree
from synevo.report.recipe import commands
from synevo.report.sheet import write_budgets, write_sheet
from synevo.report.summary import summarise
from synevo.report.terminal.run import print_report
from synevo.report.terminal.several import print_comparison
from synevo.runs.rundir import RunDir, save_report
from synevo.runs.several.run_list import find_runs, open_all, overview

pytestmark = pytest.mark.slow

EVIL = "<script>alert('class')</script>"
KERNEL, MATRIX = (3, 3, 1, 4), (16, 2)


def timings(median: float) -> dict[str, Any]:
    return {batch: {"median": median, "lower": median, "upper": median, "rounds": 5} for batch in ("1", "256")}


def make_run(path: Path, plan: Plan | None = None) -> RunDir:
    """A run of three generations, of which the last is over the budget and the second is compacted."""
    plan, run = plan or Plan(), RunDir(path)
    run.save_plan(plan)
    run.save_machine({"device": "a <b>fast</b> one"})
    alive = np.ones(KERNEL, bool)
    for generation, (synapses, accuracy) in enumerate([(44, 0.99), (24, 0.98), (12, 0.80)], start=1):
        alive = alive.copy()
        alive[..., -1] = generation < 3
        masks = {"conv/kernel": alive, "full/kernel": np.ones(MATRIX, bool), ":units": np.ones(4, bool)}
        kernel = np.where(alive, 0.5, 0.0).astype(np.float32)
        kept = kernel[..., alive.any(axis=(0, 1, 2))]
        weights = {"conv/kernel": kept, "full/kernel": np.ones(MATRIX, np.float32)}
        run.save_individual(individual(generation, synapses, accuracy), plan, weights=weights, masks=masks)
    documents = {
        "architecture": {
            "classes": [EVIL, "dog"],
            "frozen": [{"array": "full/kernel", "axis": 1, "count": 2, "reason": "it is <i>the</i> output"}],
        },
        "proof": {
            "steps": 7,
            "examples": 4,
            "random_examples": 4,
            "max_difference": 1e-6,
            "largest_output": 3.0,
            "top1_agreement": 1.0,
        },
        "measures": {"latency_ms": {"ancestor": timings(4.0), "masked": timings(4.0), "compact": timings(2.0)}},
    }
    image = np.full((1, 3, 3, 1), 200, np.uint8)
    predictions = {
        "labels": np.array([0, 0, 1, 1], np.int32),
        "ancestor": np.array([0, 0, 1, 0], np.int32),
        "best": np.array([0, 1, 1, 1], np.int32),
        "lost:places": np.array([1], np.int32),
        "lost:pixels": image,
        "won:places": np.array([3], np.int32),
        "won:pixels": image,
    }
    run.save_compact(2, weights={"w": np.zeros(3)}, documents=documents, predictions=predictions)
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "runs" / "a & <b>")


def page_of(run: RunDir) -> str:
    return render_page(run, summarise(run))


class Cells(HTMLParser):
    """The `data-v` of the cells of each row of a table, and all tags that a page has."""

    def __init__(self, table: str) -> None:
        super().__init__()
        self.table, self.inside, self.rows, self.tags = table, False, list[list[str]](), set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.inside = values.get("id") == self.table if tag == "table" else self.inside
        if self.inside and tag == "tr":
            self.rows.append([])
        if self.inside and "data-v" in values:
            self.rows[-1].append(values["data-v"] or "")


def cells(page: str, table: str) -> list[list[str]]:
    parser = Cells(table)
    parser.feed(page)
    return [row for row in parser.rows if row]


def test_the_page_shows_the_numbers_of_the_json(run: RunDir) -> None:
    summary = json.loads(json.dumps(summarise(run)))
    assert summary["best"] == 2
    shown = cells(render_page(run, summary), "generations")
    fields = ("validation_score", "test_score", "synapses", "synaptic_efficiency", "kernels")
    assert [[float(value) for value in row[:5]] for row in shown] == [
        [row[field] for field in fields] for row in summary["generations"]
    ]
    assert "1.8<small>×</small>" in render_page(run, summary), "44 synapses became 24"
    assert "2.0× faster at batch 1" in render_page(run, summary), "4 ms became 2 ms"


def test_what_people_named_is_shown_as_text(run: RunDir) -> None:
    page = page_of(run)
    assert EVIL not in page
    assert "&lt;script&gt;alert" in page
    for markup in ("a & <b>", "<b>fast</b>", "<i>the</i>"):
        assert markup not in page
    assert page.count("<script>") == 1, "only the page's own"


def test_figures_escape_what_people_named(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "<script>a"), make_run(tmp_path / "b", compose(sets=["seed=1"]))]
    page = render_comparison(compare([summarise(run) for run in runs]))
    assert "<script>a" not in page
    assert "&lt;script&gt;a" in page


def test_the_page_asks_no_server_for_anything(run: RunDir) -> None:
    page = page_of(run)
    assert not re.search(r"(src|href)=.?(https?:|//)|url\(.?(https?:|//)|@import", page.replace("xlink:href", ""))
    assert "default-src 'none'" in page
    assert len(page.encode()) < 3_000_000


def test_survival_counts_the_living_synapses_of_each_filter(run: RunDir) -> None:
    layer = summarise(run)["survival"]["layers"][0]
    assert layer["alive"] == [[9, 9, 9, 9], [9, 9, 9, 9], [9, 9, 9, 0]]
    assert layer["filters_alive"] == [4, 4, 3]


def test_outcomes_count_who_is_right_about_each_image(run: RunDir) -> None:
    outcomes = summarise(run)["outcomes"]
    assert [outcomes[name] for name in ("both_right", "lost", "won", "both_wrong")] == [2, 1, 1, 0]
    assert outcomes["best_confusion"] == [[1, 1], [0, 2]]
    assert outcomes["ancestor_confusion"] == [[2, 0], [1, 1]]
    assert outcomes["lost_images"] == [{"image": 1, "label": 0, "ancestor": 0, "best": 1}]


def damage(path: Path) -> None:
    path.write_bytes(b"damaged")


def make_family(path: Path) -> RunDir:
    """A run whose third generation has two parents, of which the second-born is the better one."""
    plan, run = compose(sets=["evolution.population=3", "evolution.parents=2"]), RunDir(path)
    run.save_plan(plan)
    ancestor, grandchild = individual(1, 44, 0.99), replace(individual(3, 12, 0.97), parents=("g02-2", "g02"))
    brood = [
        replace(individual(2, 24, accuracy), number=number, parents=("g01",))
        for number, accuracy in enumerate((0.98, 0.99, 0.80), 1)
    ]
    for one in (ancestor, *brood, grandchild):
        run.save_individual(one, plan, weights={}, masks={})
    return run


def test_the_family_tree_leads_from_both_parents_and_shows_them_as_chosen(tmp_path: Path) -> None:
    summary = summarise(make_family(tmp_path / "family"))
    assert [row["parents"] for row in summary["generations"]] == [[], ["g01"], ["g01"], ["g01"], ["g02-2", "g02"]]
    assert [row["chosen"] for row in summary["generations"]] == [True, False, True, False, True]
    assert [row["parent"] for row in summary["generations"]] == [True, True, True, False, False]
    links, circles, *_ = tree(summary, 1000)["layer"]
    places = {node["name"]: (node["x"], node["y"]) for node in circles["data"]["values"]}
    lines = {((line["x"], line["y"]), (line["x2"], line["y2"])) for line in links["data"]["values"]}
    pairs = [("g01", "g02"), ("g01", "g02-2"), ("g01", "g02-3"), ("g02", "g03"), ("g02-2", "g03")]
    assert lines == {(places[parent], places[child]) for parent, child in pairs}
    kinds = {node["name"]: node["kind"] for node in circles["data"]["values"]}
    assert (kinds["g02"], kinds["g02-2"]) == ("within the budget", "within the budget")
    assert (kinds["g02-3"], kinds["g03"]) == ("not chosen, or over the budget", "best")


def test_a_terminal_names_the_parents_where_there_are_several(run: RunDir, tmp_path: Path) -> None:
    shown = []
    for one in (run, make_family(tmp_path / "family")):
        text = io.StringIO()
        print_report(Console(file=text, width=160), summarise(one))
        shown.append(text.getvalue())
    assert "parents" not in shown[0]
    assert "parents" in shown[1]
    assert re.search(r"^ *3\* .* 2-2, 2 *$", shown[1], re.MULTILINE)


DAMAGES = {
    "the masks of a generation": ("individuals/g02/masks.safetensors", "survival"),
    "the proof": ("compact/g02/proof.json", "compact"),
    "the predictions": ("compact/g02/predictions.safetensors", "outcomes"),
    "the machine": ("machine.json", "machine"),
    "the plan": ("plan.toml", "plan"),
    "the hashes of the compacted network": ("compact/g02/hashes.json", "compact"),
    "the weights of the compacted network": ("compact/g02/weights.safetensors", "compact"),
    "the times of the compacted network": ("compact/g02/measures.json", "compact"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_run_is_reported_as_far_as_it_is_whole(run: RunDir, what: str) -> None:
    name, part = DAMAGES[what]
    damage(run.path / name)
    summary = summarise(run)
    assert part in {gap["part"] for gap in summary["missing"]}
    assert [row["synapses"] for row in summary["generations"]] == [44, 24, 12]
    page = render_page(run, summary)
    assert "This run is not whole." in page
    assert len(cells(page, "generations")) == 3
    text = io.StringIO()
    print_report(Console(file=text, width=160), summary)
    assert "damaged" in text.getvalue()


LOSSES = {
    "individuals/g02/weights.safetensors": {"weights"},
    "individuals/g01": {"weights", "survival"},
    "compact/g02/proof.json": {"compact"},
    "compact/g02/hashes.json": {"compact"},
    "compact/g02/predictions.safetensors": {"outcomes"},
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_was_deleted_is_named_and_the_rest_is_shown(run: RunDir, name: str) -> None:
    path = run.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    summary = summarise(run)
    assert {gap["part"] for gap in summary["missing"]} == LOSSES[name]
    assert all(Path(name).parts[1] in gap["problem"] for gap in summary["missing"])
    page = render_page(run, summary)
    assert len(cells(page, "generations")) == 3
    assert "This run is not whole." in page
    assert "compacted yet" not in page, "it is compacted, and lost"


def rewrite(folder: Path, name: str, content: str) -> None:
    """Write another content with its right hash, as another version would."""
    import hashlib

    (folder / name).write_text(content)
    hashes = json.loads((folder / "hashes.json").read_text())
    (folder / "hashes.json").write_text(json.dumps({**hashes, name: hashlib.sha256(content.encode()).hexdigest()}))


def test_documents_of_another_version_cost_no_more_than_what_they_lack(run: RunDir) -> None:
    folder = run.path / "compact/g02"
    document = json.loads((folder / "architecture.json").read_text())
    rewrite(folder, "architecture.json", json.dumps({"frozen": document["frozen"]}))
    summary = summarise(run)
    assert [gap["part"] for gap in summary["missing"]] == ["outcomes"]
    assert summary["compact"]["proof"]["steps"] == 7
    assert summary["frozen"] == document["frozen"]
    rewrite(folder, "architecture.json", json.dumps({"frozen": []}))
    assert "every filter could have been removed" in render_page(run, summarise(run))
    rewrite(folder, "proof.json", "{}")
    summary = summarise(run)
    assert {gap["part"] for gap in summary["missing"]} == {"compact"}
    assert "max_difference" in render_page(run, summary)
    (run.path / "machine.json").write_text("[1]")
    assert summarise(run)["machine"] == {}
    assert "no JSON object" in page_of(run)


def test_a_page_that_cannot_be_written_is_offered_another_place(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    (run.path / "report").write_text("not a folder")
    command = [sys.executable, "-m", "synevo", "report", "a", "--html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--output FOLDER" in done.stderr
    synevo("report", "a", "--output", "elsewhere", where=tmp_path)
    assert (tmp_path / "elsewhere/index.html").is_file()


def test_a_line_that_cannot_be_read_is_named_and_the_others_are_reported(run: RunDir) -> None:
    path = run.path / "lineage.jsonl"
    first, second, third = path.read_text().splitlines()
    path.write_text("\n".join([first, second[:50], third]) + "\n")
    summary = summarise(run)
    assert [row["generation"] for row in summary["generations"]] == [1, 3]
    assert any("line 2" in gap["problem"] for gap in summary["missing"])
    path.write_text("\n".join([first[:50], second, third]) + "\n")
    summary = summarise(run)
    assert summary["state"] == "damaged"
    assert summary["generations"][0]["synaptic_efficiency"] is None, "nothing to compare with"
    assert "This run is not whole." in render_page(run, summary)


@pytest.mark.parametrize("missing", ["compact", "individuals", "machine.json", "lineage.jsonl"])
def test_what_is_absent_is_said_and_the_rest_is_shown(run: RunDir, missing: str) -> None:
    path = run.path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run)
    for section in ("curves", "lineage", "network", "survival", "kernels", "outcomes", "cost", "proof", "record"):
        assert f'<section id="{section}"' in page
    assert "Missing." in page or "There is no individual yet." in page


def test_a_generation_that_failed_is_shown_with_its_reason(run: RunDir) -> None:
    failed = replace(individual(4, 12, 0.9), counts=None, scores=None, latency_ms=None, problem="It <b>diverged</b>.")
    run.save_individual(failed, Plan(), weights={}, masks={})
    summary = summarise(run)
    page = render_page(run, summary)
    assert summary["state"] == "failed"
    assert "It &lt;b&gt;diverged" in page
    assert len(cells(page, "generations")) == 4


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "new")
    run.save_plan(Plan())
    summary = summarise(run)
    assert summary["state"] == "empty"
    assert "There is no individual yet." in render_page(run, summary)


def test_wide_layers_and_coloured_filters_become_pictures_of_a_page_s_size() -> None:
    from synevo.report.page import pictures

    wide = pictures.kernels(np.eye(3000, 2500))
    assert max(wide.width, wide.height) <= 640
    assert pictures.kernels(np.ones((5, 5, 2, 3))).width == 3 * 6
    colour = pictures.filters(np.linspace(-1, 1, 5 * 5 * 3 * 2).reshape(5, 5, 3, 2))
    assert [pixels.shape for pixels in colour] == [(5, 5, 4)] * 2


def test_the_live_view_shows_every_generation_and_the_curve(run: RunDir) -> None:
    from synevo.cli.live.view import view

    text = io.StringIO()
    Console(file=text, width=100).print(view(run.load_lineage()))
    rows = text.getvalue().splitlines()
    assert [row.split()[0] for row in rows[2:5]] == ["1", "2", "3"]
    assert "█" in rows[5]
    assert "99.00 → 80.00 %" in rows[5]


def test_a_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        summarise(RunDir(tmp_path))


def test_reporting_changes_nothing(run: RunDir) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    for path in (run.path, *run.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    render_page(run, summarise(run))
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_masks_of_the_first_file_format_are_read(run: RunDir) -> None:
    from safetensors.numpy import save

    from synevo.files.tensors import unpack_masks

    mask = np.array([[True, False, True]])
    old = save({"m": np.packbits(mask)}, metadata={"m": "[1, 3]"})
    np.testing.assert_array_equal(unpack_masks(run.path, old)["m"], mask)


def test_the_sheet_has_a_row_an_individual_with_the_numbers_of_the_json(run: RunDir) -> None:
    summary = summarise(run)
    rows = list(csv.DictReader(io.StringIO(write_sheet([summary]))))
    assert [float(row["synaptic_efficiency"]) for row in rows] == [
        row["synaptic_efficiency"] for row in summary["generations"]
    ]
    assert [row["filters_alive conv/kernel"] for row in rows] == ["4", "4", "3"]
    assert rows[1]["latency_ms_at_batch_1"] == "0.25"


def test_the_commands_make_the_same_plan() -> None:
    plan = compose(preset="demo", sets=["seed=3", "training.epochs=7", "data.dataset='a b'", "encoding.cluster=filter"])
    import shlex

    words = shlex.split(commands(plan, "x y")[0])
    sets = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert words[-2:] == ["--run", "runs/x y"]
    assert compose(preset="demo", options={"seed": int(words[words.index("--seed") + 1])}, sets=sets) == plan


REACHED = ((0.005, 0.98, 1.0), (0.03, 0.97, 44 / 24))
"""Budget, test score and efficiency of the runs of `make_run`: the largest of the budgets that reach the same."""


def test_replicates_are_one_group_with_mean_and_deviation(tmp_path: Path) -> None:
    plans = [compose(sets=[f"seed={seed}"]) for seed in (0, 1)] + [compose(sets=["encoding.cluster=filter"])]
    runs = [make_run(tmp_path / f"r{number}", plan) for number, plan in enumerate(plans)]
    found = compare([summarise(run) for run in runs])
    assert [group["runs"] for group in found["groups"]] == [["r0", "r1"], ["r2"]]
    second = found["groups"][0]["generations"][1]
    assert second["runs"] == 2
    assert second["synaptic_efficiency"] == {"mean": 44 / 24, "deviation": 0.0, "min": 44 / 24, "max": 44 / 24}
    assert {row["field"]: row["values"] for row in found["differences"]} == {
        "seed": [0, 1, 0],
        "encoding.cluster": ["kernel", "kernel", "filter"],
    }
    assert found["groups"][1]["name"] == "cluster filter"
    assert found["groups"][1]["generations"][0]["test_score"]["deviation"] is None, "there is one run"
    assert [row["of_groups"] for row in found["differences"]] == [[["0", "1"], ["0"]], [["kernel"], ["filter"]]]
    best = found["groups"][0]["best"]
    assert best["runs"] == 2
    assert best["test_score"]["mean"] == 0.97, "the second generations are the last within the budget"
    page = render_comparison(found)
    assert [row[:2] for row in cells(page, "bests")] == [[str(0.98), str(0.97)]] * 3
    reached = [[str(number) for number in (budget, score, times)] for budget, score, times in REACHED]
    assert [[row[0], row[1], row[3]] for row in cells(page, "budgets")] == reached * 2
    together = [[0.005], [0.01, 0.02, 0.03]]
    assert [row["budgets"] for row in found["groups"][0]["budgets"]] == together, "the same choices share a row"
    sheet = list(csv.DictReader(io.StringIO(write_budgets(found["groups"]))))
    assert [row["budgets"] for row in sheet] == [" ".join(map(str, row)) for row in together] * 2
    text = io.StringIO()
    print_comparison(Console(file=text, width=160), found)
    for shown in (page, text.getvalue()):
        assert "1.00–3.00" in shown
    assert "cluster kernel: mean ± s.d. of r0, r1" in text.getvalue()
    assert "97.00 ± 0.00" in text.getvalue()


def lineage_of(points: list[tuple[float | None, float]]) -> dict[str, Any]:
    """A summary of generations with these multiply-adds and accuracies."""
    unknown = dict.fromkeys(("synapses", "kernels", "stored_weights"))
    rows = [
        {"chosen": True, "generation": number, "multiply_adds": cost, "test_score": accuracy, **unknown}
        for number, (cost, accuracy) in enumerate(points, 1)
    ]
    return {"generations": rows}


def test_score_at_equal_efficiency_is_read_off_the_curve_of_each_run() -> None:
    first = lineage_of([(800, 0.99), (800, 0.97), (200, 0.95), (None, 0.94), (50, 0.93)])
    second = lineage_of([(600, 0.98), (300, 0.96)])
    orphan = lineage_of([(None, 0.5), (100, 0.4)])
    found = levels([first, second, orphan])
    assert found["synapses"] == []
    rows = found["multiply-adds"]
    assert [(row["efficiency"], row["runs"]) for row in rows] == [(1, 2), (2, 2), (4, 1), (8, 1), (16, 1)]
    means = [row["test_score"]["mean"] for row in rows]
    assert means == pytest.approx([(0.99 + 0.98) / 2, (0.96 + 0.96) / 2, 0.95, 0.94, 0.93])
    assert rows[0]["test_score"]["deviation"] == pytest.approx(0.01 / 2**0.5)


def test_the_command_line_compares_at_equal_efficiency(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"runs/r-{seed}", compose(sets=[f"seed={seed}"]))
    against = ("report", "runs", "--against", "synapses", "--against", "stored-weights")
    text = synevo(*against, where=tmp_path).stdout
    assert re.search(r"2×  +94\.74 ± 0\.00", text), "0.97 at 44 / 24 and 0.79 at 44 / 12"
    rows = list(csv.DictReader(io.StringIO(synevo(*against, "--csv", where=tmp_path).stdout)))
    assert [(row["quantity"], row["efficiency"], row["runs"]) for row in rows] == [
        *(("synapses", "1", "2"), ("synapses", "2", "2"), ("stored-weights", "1", "2"))
    ]
    for words, told in ((["bytes"], "Quantities: synapses"), (["kernels", "--json"], "holds all levels")):
        refused = synevo("report", "runs", "--against", *words, where=tmp_path, code=2)
        assert told in refused.stderr


def named(tmp_path: Path, plans: list[Plan]) -> list[str]:
    runs = [make_run(tmp_path / f"r{number}", plan) for number, plan in enumerate(plans)]
    return [group["name"] for group in compare([summarise(run) for run in runs])["groups"]]


def test_groups_are_named_by_what_sets_them_apart(tmp_path: Path) -> None:
    sharp, paper = (compose(preset=name, sets=["seed=1"]) for name in ("sharp", "paper"))
    assert named(tmp_path / "presets", [sharp, paper, compose(preset="sharp")]) == ["preset sharp", "preset paper"]
    many = ["training.growth=0.9", "encoding.truncation=2.0", "training.epochs=9"]
    same = [compose(preset="sharp"), sharp, compose(preset="sharp", sets=many)]
    assert named(tmp_path / "one preset", same) == ["r0 and 1 more", "r2"]
    assert named(tmp_path / "alone", [sharp]) == ["r0"]


def test_a_run_without_a_plan_is_alone_and_differs_in_nothing(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{seed}", compose(sets=[f"seed={seed}"])) for seed in (0, 1, 2)]
    damage(runs[1].path / "plan.toml")
    found = compare([summarise(run) for run in runs])
    assert [group["runs"] for group in found["groups"]] == [["r0", "r2"], ["r1"]]
    assert found["differences"] == [{"field": "seed", "values": [0, None, 2], "of_groups": [["0", "2"], []]}]
    assert "r1, plan: " in render_comparison(found)


def test_the_best_of_a_lineage_that_goes_on_is_not_known_yet(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{seed}", compose(sets=[f"seed={seed}"])) for seed in (0, 1)]
    lines = (runs[1].path / "lineage.jsonl").read_text().splitlines()
    (runs[1].path / "lineage.jsonl").write_text("\n".join(lines[:2]) + "\n")
    (group,) = compare([summarise(run) for run in runs])["groups"]
    assert [row["runs"] for row in group["generations"]] == [2, 2, 1]
    assert group["best"]["runs"] == 1


def test_a_folder_of_runs_counts_as_its_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name)
    (tmp_path / "latest").symlink_to("a")
    (tmp_path / "notes").mkdir()
    assert [run.name for run in find_runs(tmp_path)] == ["a", "b"]
    assert [run.name for run in open_all([tmp_path, tmp_path / "a"])] == ["a", "b"], "each once"
    with pytest.raises(RunError, match="neither a run nor a folder of runs"):
        open_all([tmp_path / "notes"])


def test_a_run_at_a_glance(run: RunDir) -> None:
    one = overview(run)
    assert (one.state, one.generations, one.best, one.writer) == ("over budget", 3, 2, None)
    assert one.synaptic_efficiency == 44 / 24
    with run.writing():
        assert "process" in (overview(run).writer or "")
    damage(run.path / "plan.toml")
    assert overview(run).state == "damaged"


def test_a_writer_that_was_killed_is_nobody(run: RunDir) -> None:
    code = "import os, sys; from pathlib import Path; from synevo.runs.rundir import RunDir\n"
    code += "with RunDir(Path(sys.argv[1])).writing(): os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=False)
    assert (run.path / ".holder.json").is_file()
    assert run.writer() is None


def test_the_page_leads_with_the_verdict_and_what_people_share_and_ends_with_the_record(run: RunDir) -> None:
    page = page_of(run)
    order = ("headline", "network", "survival", "curves", "outcomes", "lineage", "kernels", "cost", "proof", "record")
    assert re.findall(r'<section id="(\w+)"', page) == list(order)
    assert "on validation, which decides, the best uses 33 % of the budget" in page, "one of three points"
    assert '<h1 class="within">' in page
    summary = summarise(run)
    worse = [
        {**row, "test_score": row["test_score"] - 0.03 * (row["generation"] - 1)} for row in summary["generations"]
    ]
    page = render_page(run, {**summary, "generations": worse})
    assert "the best uses 33 % of the budget, on test more than all of it" in page
    assert '<h1 class="spent">' in page, "what the headline says is not within the budget"
    page = page_of(run)
    assert page.count("<fieldset>") == 1, "one plot, and a switch of its axis"
    assert re.findall(r'<input type="radio"[^>]*> ([\w -]+)</label>', page) == list(KINDS.values())
    record = page[page.index('<section id="record"') :]
    assert record.index("<details><summary>The same again") < record.index("Hashes of the networks")


def test_a_lineage_of_single_heirs_has_no_family_tree(run: RunDir, tmp_path: Path) -> None:
    told = "Lines lead from parents to offspring"
    assert told not in page_of(run)
    assert told in page_of(make_family(tmp_path / "family"))


def test_a_link_to_the_page_may_show_a_card(run: RunDir) -> None:
    summary = summarise(run)
    page = render_page(run, summary)
    assert '<meta property="og:image" content="card.png">' in page
    assert '<meta name="description" content="lenet5 on digits: ' in page
    drawn = Image.open(io.BytesIO(card(summary) or b""))
    assert drawn.size == (1200, 630)
    pixels = np.asarray(drawn.convert("RGB"))
    parts = {"its numbers": pixels[130:200], "the network": pixels[270:500]}
    for what, part in parts.items():
        assert (part == (11, 98, 196)).all(axis=-1).any(), what
    assert card({**summary, "best": None}) is None, "there is nothing to show yet"


def test_a_card_has_room_for_any_name_and_many_layers(run: RunDir) -> None:
    summary = summarise(run)
    many = {**summary, "layers": summary["layers"] * 20, "ancestor_name": "<b>" * 40}
    assert Image.open(io.BytesIO(card(many) or b"")).size == (1200, 630)


def test_several_runs_are_headed_by_the_best_and_lead_to_their_own_pages(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"runs/r-{seed}", compose(sets=[f"seed={seed}"]))
    run = RunDir(tmp_path / "runs/r-1")
    better = replace(individual(3, 8, 0.975), generation=3)
    (run.path / "lineage.jsonl").unlink()
    for one in (individual(1, 44, 0.99), individual(2, 24, 0.98), smaller(better)):
        run.save_individual(one, run.load_plan(), weights={}, masks={})
    synevo("report", "runs/r-1", "--html", where=tmp_path)
    synevo("report", "runs", "--html", where=tmp_path)
    page = (tmp_path / "runs/report/index.html").read_text()
    assert re.search(r"<h1>r-1: .*× fewer multiply-adds", page)
    assert 'href="../r-1/report/index.html"' in page
    assert "r-0/report" not in page, "it has no page"
    assert (tmp_path / "runs/report/card.png").is_file()


def smaller(one: Individual) -> Individual:
    """An individual with half of its multiply-adds."""
    assert one.counts
    layers = tuple(replace(layer, multiply_adds=layer.multiply_adds // 2) for layer in one.counts.layers)
    return replace(one, counts=Counts(layers, one.counts.parameters))


def test_the_front_has_what_none_is_both_smaller_and_better_than() -> None:
    points = [{"x": x, "y": y} for x, y in ((8, 99), (4, 98), (4, 97), (2, 98.5), (1, 90), (16, 99))]
    assert [(one["x"], one["y"]) for one in front(points, "higher")] == [(1, 90), (2, 98.5), (8, 99)]
    assert [(one["x"], one["y"]) for one in front(points, "lower")] == [(1, 90)]


def test_replicates_are_clouds_and_plans_that_differ_are_parallel_axes(tmp_path: Path) -> None:
    plans = [compose(sets=[f"seed={seed}"]) for seed in (0, 1, 2)]
    plans += [compose(sets=["training.epochs=9", "encoding.cluster=filter"])]
    found = compare([summarise(make_run(tmp_path / f"r{place}", plan)) for place, plan in enumerate(plans)])
    *clouds, line, points = pareto(found, "bytes", 900)["layer"]
    assert len(points["data"]["values"]) == 4 * 3
    assert clouds == [], "three replicates that are alike to the last digit span no area"
    assert [one["y"] for one in line["data"]["values"]] == [98.0]
    drawn = parallel(found, 900)["layer"][2]["data"]["values"]
    runs = {run: [one for one in drawn if one["run"] == run] for run in ("r0", "r3")}
    assert [one["text"] for one in runs["r3"]][:2] == ["r3: epochs 9", "r3: cluster filter"]
    assert [one["y"] for one in runs["r0"]][:2] == [0.0, 1.0], "4 epochs are fewer than 9, kernel is behind filter"
    assert [one["y"] for one in runs["r3"]][:2] == [1.0, 0.0]
    spread = [dict(one, generation=1, group="g") for one in ({"x": 1, "y": 1}, {"x": 3, "y": 1}, {"x": 2, "y": 4})]
    inside = {"x": 2, "y": 2, "generation": 1, "group": "g"}
    (outline,) = _clouds([*spread, inside])
    assert [(one["x"], one["y"]) for one in outline] == [(1, 1), (3, 1), (2, 4), (1, 1)]
    page = render_comparison(found)
    assert page.count("<fieldset>") == 2
    assert "An axis for each field in which the plans differ" in page
    alike = render_comparison(compare([summarise(RunDir(tmp_path / f"r{place}")) for place in (0, 1)]))
    assert "An axis for each field" not in alike


def test_the_page_is_written_beside_its_numbers(run: RunDir, tmp_path: Path) -> None:
    summary = summarise(run)
    path = save_report(tmp_path / "out", render_page(run, summary), summary)
    assert path == tmp_path / "out/index.html"
    assert json.loads((tmp_path / "out/report.json").read_text()) == json.loads(json.dumps(summary))
    assert not (run.path / "report").exists()


def synevo(*words: str, where: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "synevo", *words]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def test_the_commands_that_look_load_no_jax(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a")
    for words in (["report", "runs/a", "--html"], ["report", "runs"], ["runs"], ["watch", "runs/a"]):
        code = (
            f"import sys; sys.argv = ['synevo', *{words!r}]\n"
            "from synevo.cli.app import main\n"
            "try: main()\n"
            "finally: assert 'jax' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_command_line_reports_one_run_and_several(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a")
    make_run(tmp_path / "runs/b", compose(sets=["seed=1"]))
    assert "Where the plans differ" in synevo("report", "runs", where=tmp_path).stdout
    assert len(json.loads(synevo("report", "runs/a", "runs/b", "--json", where=tmp_path).stdout)["summaries"]) == 2
    assert len(synevo("report", "runs", "--csv", where=tmp_path).stdout.splitlines()) == 7
    assert "runs/a/report/index.html" in synevo("report", "runs/a", "--html", where=tmp_path).stderr
    synevo("report", "runs", "--output", "both", where=tmp_path)
    assert (tmp_path / "both/index.html").is_file()
    listed = synevo("runs", where=tmp_path).stdout
    assert "runs/a" in listed
    assert "over budget" in listed


def test_watching_a_run_ends_when_nobody_works_on_it(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    lines = synevo("watch", "a", where=tmp_path).stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("generation  2:")
    assert lines[-1] == "nobody is working on a"


def test_the_shell_completes_the_names_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synevo.cli.values import complete_run

    make_run(tmp_path / "runs/alpha")
    make_run(tmp_path / "runs/beta")
    make_run(tmp_path / "elsewhere/gamma")
    monkeypatch.chdir(tmp_path)
    assert complete_run("") == ["runs/alpha", "runs/beta"]
    assert complete_run("runs/a") == ["runs/alpha"]
    assert complete_run("bet") == ["runs/beta"]
    assert complete_run("elsewhere/") == ["elsewhere/gamma"]
