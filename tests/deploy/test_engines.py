"""Engines run a network as its source runs, say their name beside each figure, and lose no training when they fail."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.deploy.engines import cores, forms, stopwatch
from synevo.deploy.engines.forms import ENGINES, FORMS, open_form
from synevo.deploy.engines.stopwatch import EngineStopwatch
from synevo.deploy.formats.onnx import open_file
from synevo.deploy.reload import reload
from synevo.errors import ExportError
from synevo.genetics.archive import Birth
from synevo.runs import compacting, organisms
from synevo.runs.measuring import Timing
from synevo.runs.organisms import Context, Times
from synevo.runs.rundir import RunDir
from synevo.runs.stages import RunArchive
from synevo.runs.verification import verify_numbers
from synevo.tasks.task import first

pytestmark = pytest.mark.slow

TENSORFLOW = pytest.mark.filterwarnings("default")  # TensorFlow's own


@pytest.fixture(scope="module")
def context(finished: RunDir) -> Context:
    return organisms.prepare(finished.load_plan())


@pytest.fixture
def copied(finished: RunDir, tmp_path: Path) -> RunDir:
    """The finished run, to be changed."""
    shutil.copytree(finished.path, tmp_path / "run")
    return RunDir(tmp_path / "run")


@pytest.mark.parametrize("name", [pytest.param(name, marks=TENSORFLOW) for name in FORMS])
def test_an_engine_says_of_every_image_what_jax_says(name: str, finished: RunDir, context: Context) -> None:
    if (missing := ENGINES[FORMS[name].engine].missing) is not None:
        pytest.skip(f"needs synevo[tflite]: {missing}" if "tensorflow" in missing else missing)
    reloaded = reload(finished.path)
    images = np.asarray(first(context.problem.test, 64)["image"])
    calibration = [np.asarray(first(context.problem.train, 100)["image"])]
    opened = open_form(name, reloaded, threads=1, calibration=calibration)
    expected = np.asarray(reloaded.logits(reloaded.network, jnp.asarray(images)))
    found = np.asarray(opened.run(images))
    if FORMS[name].whole_numbers:
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.9
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert (opened.size is None) == (name == "jax")


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(ENGINES, name, replace(ENGINES[name], packages=("no_such_package",)))


def test_the_fastest_engine_that_is_installed_is_taken_and_named(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = {"": context.species.template}
    assert EngineStopwatch().time(context, networks, 1, rounds=2).engine["words"].startswith("ONNX Runtime ")
    without(monkeypatch, "onnxruntime", "litert")
    compiled = EngineStopwatch().time(context, networks, 1, rounds=2).engine
    assert compiled["name"] == ("c" if shutil.which("cc") else "jax")
    monkeypatch.setattr(stopwatch, "MOST_IN_C", 0)
    found = EngineStopwatch().time(context, networks, 1, rounds=2)
    assert found.engine["words"].startswith("JAX ")
    assert found.timings[""].median > 0


def test_an_engine_that_does_not_take_the_network_is_passed_over_unless_it_was_named(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, *_: Any, **__: Any) -> None:
        raise ExportError(f"{name} does not.", remedy="")

    monkeypatch.setattr(stopwatch, "open_form", refuse)
    EngineStopwatch().require(context)
    assert EngineStopwatch().time(context, {"": context.species.template}, 1, rounds=2).engine["name"] == "jax"
    with pytest.raises(ExportError, match="onnx does not"):
        EngineStopwatch("onnxruntime").require(context)


def test_an_engine_that_is_not_installed_is_refused_with_what_it_lacks(
    copied: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "litert")
    done = CliRunner().invoke(app, ["compact", str(copied.path), "--engine", "litert"])
    assert done.exit_code == 2
    assert "LiteRT cannot be used: no_such_package not installed: pip install '.[tflite]'." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_is_not_lost_because_its_engine_failed(copied: RunDir, context: Context) -> None:
    class Failing:
        def require(self, context: Context) -> None: ...

        def time(self, *_: Any, **__: Any) -> Times:
            raise ExportError("It is out of memory.", remedy="")

    lineage = copied.load_lineage()
    archive = RunArchive(copied, context, None, stopwatch=Failing())
    organism = organisms.load_organism(copied, context.species, 2)
    archive.keep(Birth(replace(lineage.last, number=2), organism))
    assert copied.load_lineage().last.name == "g02-2"
    assert copied.load_lineage().last.latency_ms is None


@pytest.mark.skipif(not cores.can_confine(), reason="this system holds no process to some of its cores")
def test_a_timing_on_one_thread_has_one_core_and_gives_the_others_back() -> None:
    before = os.sched_getaffinity(0)
    with cores.confined(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_the_engine_is_named_beside_every_figure(copied: RunDir) -> None:
    words = forms.about("onnxruntime", 1)["words"]
    done = CliRunner().invoke(app, ["compact", str(copied.path), "--engine", "onnxruntime", "--round-to", "none"])
    assert done.exit_code == 0, done.stderr
    assert f"In {words} on this machine: " in done.stdout
    assert copied.load_compact(2)[1]["measures"]["engine"]["words"] == words
    report = CliRunner().invoke(app, ["report", str(copied.path)]).stdout
    assert f"ms: median (quartiles) of {words}" in " ".join(report.split())


# Widths


class Scripted:
    """An engine in which a layer of so many filters takes a given time: widths of multiples of 8 are fast."""

    def require(self, context: Context) -> None: ...

    def time(self, _: Context, networks: Any, __: int, *, rounds: int) -> Times:
        def took(network: Any) -> float:
            widths = [array.shape[-1] for name, array in network.arrays.items() if name.endswith("kernel")]
            return sum(width * (1 if width % 8 == 0 else 9) for width in widths)

        timings = {name: Timing(took(one), took(one), took(one), rounds) for name, one in networks.items()}
        return Times(timings, {"name": "c", "words": "a script", "threads": 1})


def test_the_widths_that_run_fastest_are_kept_and_compute_the_same(copied: RunDir) -> None:
    plan = copied.load_plan()
    bare = compacting.compact(copied, plan, stopwatch=Scripted())
    padded = compacting.compact(copied, plan, round_to=None, stopwatch=Scripted())
    tried = {one["round_to"]: one["share"] for one in padded["measures"]["widths"] if isinstance(one["round_to"], int)}
    assert padded["architecture"]["round_to"] == min(tried, key=tried.__getitem__) > 1
    assert bare["architecture"]["round_to"] == 1
    assert tried[1] == 1
    assert padded["architecture"]["units"]["alive"] > bare["architecture"]["units"]["alive"]
    assert padded["proof"]["max_difference"] <= 1e-4
    again = [check for check in verify_numbers(copied) if check.subject.startswith("compacted")]
    assert again
    assert all(check.holds for check in again)


class Indifferent(Scripted):
    """An engine in which all widths take the same time but for noise."""

    def time(self, _: Context, networks: Any, __: int, *, rounds: int) -> Times:
        timings = {name: Timing(1 - 0.001 * place, 1, 1, rounds) for place, name in enumerate(networks)}
        return Times(timings, {"name": "c", "words": "a script", "threads": 1})


def test_padding_that_gains_nothing_is_left_out(finished: RunDir, context: Context) -> None:
    organism = organisms.load_organism(finished, context.species, 2)
    widths, same, tried = compacting.fastest(context, organism, Indifferent())
    assert widths == 1
    assert (same.units == organism.units).all()
    assert len(tried) > 1


class Choosy(Scripted):
    """An engine that computes one layer by sixteen filters at a time, and all others filter by filter."""

    def __init__(self) -> None:
        self.rounds: list[int] = []

    def time(self, _: Context, networks: Any, __: int, *, rounds: int) -> Times:
        def took(network: Any) -> float:
            widths = {name: array.shape[-1] for name, array in network.arrays.items() if name.endswith("kernel")}
            return sum(
                (60 if width % 16 else 30) if name.startswith("groups") else width for name, width in widths.items()
            )

        self.rounds.append(rounds)
        timings = {name: Timing(took(one), took(one), took(one), rounds) for name, one in networks.items()}
        return Times(timings, {"name": "c", "words": "a script", "threads": 1})


def test_a_layer_has_a_multiple_of_its_own_where_that_is_clearly_faster(copied: RunDir) -> None:
    watch = Choosy()
    made = compacting.compact(copied, copied.load_plan(), round_to=None, stopwatch=watch)
    widths, tried = made["architecture"]["round_to"], made["measures"]["widths"]
    assert isinstance(widths, dict)
    assert len(set(widths.values())) > 1
    shares = {json.dumps(one["round_to"], sort_keys=True): one["share"] for one in tried}
    kept = shares[json.dumps(widths, sort_keys=True)]
    assert kept == min(shares.values()) < 0.95 * min(one["share"] for one in tried if isinstance(one["round_to"], int))
    assert len(tried) <= len(compacting.WIDTHS) + compacting.MOST_TRIALS + 1
    assert sum(watch.rounds) < 2 * 3 * len(tried) * compacting.TRIED
    assert all(check.holds for check in verify_numbers(copied) if check.subject.startswith("compacted"))
    said = CliRunner().invoke(app, ["bench", str(copied.path), "--forms", "jax", "--rounds", "2", "--json"])
    assert json.loads(said.stdout)["benches"][0]["round_to"] == widths


def test_a_network_is_opened_once_for_all_of_its_timings(
    finished: RunDir, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def counted(*words: Any, **more: Any) -> Any:
        opened.append(words)
        return open_form(*words, **more)

    monkeypatch.setattr(stopwatch, "open_form", counted)
    organism = organisms.load_organism(finished, context.species, 2)
    watch = EngineStopwatch("onnxruntime")
    networks = {"compact": organism.network, "masked": organism.whole}
    for batch in (1, 4):
        watch.time(context, networks, batch, rounds=2)
    watch.time(context, {"compact": organism.network}, 4, rounds=2)
    assert len(opened) == 2
    watch.time(context, networks, 4, rounds=2)
    assert len(opened) == 3  # what was not timed last is not kept


@pytest.mark.parametrize("text", ["0", "-1", "many", "8.5"])
def test_a_width_that_is_none_is_refused(text: str, finished: RunDir) -> None:
    done = CliRunner().invoke(app, ["compact", str(finished.path), f"--round-to={text}"])
    assert done.exit_code == 2
    assert "Write auto, none, or a number of filters" in done.stderr


def test_automatic_widths_are_tried_by_default_and_said(copied: RunDir) -> None:
    done = CliRunner().invoke(app, ["compact", str(copied.path)])
    assert done.exit_code == 0, done.stderr
    kept = json.loads((copied.compact_folder(2) / "architecture.json").read_text())["round_to"]
    assert kept in compacting.WIDTHS
    assert f"Widths: {'as they are' if kept == 1 else f'multiples of {kept}'}" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells it so")
def test_networks_in_onnx_runtime_share_the_memory_in_which_they_compute(tmp_path: Path) -> None:
    """A signal of 64 MiB grows and shrinks; four such networks, run in turns, need no more than one and a half."""
    wide = helper.make_graph(
        [
            helper.make_node("Expand", ["x", "shape"], ["y"]),
            helper.make_node("Exp", ["y"], ["e"]),
            helper.make_node("ReduceSum", ["e"], ["z"], keepdims=0),
        ],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [])],
        [helper.make_tensor("shape", TensorProto.INT64, [1], [2**24])],
    )
    (tmp_path / "wide.onnx").write_bytes(
        helper.make_model(wide, ir_version=9, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    )
    held = [resident()]
    kept = []
    for _ in range(4):
        kept.append(open_file(tmp_path / "wide.onnx", threads=1))
        assert kept[-1](np.zeros(1, np.float32)) == pytest.approx(2**24, rel=1e-3)
        held.append(resident())
    assert held[1] - held[0] >= 60 * 2**20
    assert held[4] - held[1] <= 0.5 * (held[1] - held[0])


def resident() -> int:
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
