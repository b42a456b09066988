"""A run on disk is whole or refused; nothing in it is overwritten by accident."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synevo.errors import PlanError, RunError
from synevo.files.writing import canonical, hash_of
from synevo.lineage.individuals import Counts, Individual, LayerCount, Scores
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir, latest


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def individual(generation: int = 1) -> Individual:
    layer = LayerCount("full/kernel", inputs=3, filters=2, kernels=6, synapses=5, stored_weights=6, multiply_adds=6)
    return Individual(
        generation=generation,
        parents=(),
        counts=Counts((layer,), 8),
        scores=Scores(0.9, 0.875),
        expected_synapses=5.5,
        sampled_synapses=5,
        learning_rate=1e-3,
        epochs=2,
        seconds=1.5,
        latency_ms={"1": 0.1},
    )


WEIGHTS = {"full/kernel": np.arange(6, dtype=np.float32).reshape(3, 2), "full/bias": np.ones(2, np.float32)}
MASKS = {"full/kernel": np.array([[1, 0], [1, 1], [0, 1]], bool), ":units": np.array([True, False, True])}


@pytest.fixture
def run() -> RunDir:
    run = RunDir(Path("runs/a"))
    with run.writing():
        run.save_plan(Plan())
        run.save_individual(individual(), Plan(), weights=WEIGHTS, masks=MASKS)
    return run


def test_what_is_saved_is_what_is_loaded(run: RunDir) -> None:
    assert run.load_plan() == Plan()
    assert run.load_lineage().individuals == (individual(),)
    weights, masks = run.load_individual(1)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(weights[name], array)
    for name, array in MASKS.items():
        np.testing.assert_array_equal(masks[name], array)


def test_masks_take_one_bit_a_synapse() -> None:
    run = RunDir(Path("runs/a"))
    mask = {"layer": np.random.default_rng(0).random((100, 800)) < 0.5}
    run.save_individual(individual(), Plan(), weights=WEIGHTS, masks=mask)
    size = (run.path / "individuals/g01/masks.safetensors").stat().st_size
    assert size < 100 * 800 / 8 + 500
    np.testing.assert_array_equal(run.load_individual(1)[1]["layer"], mask["layer"])


@pytest.mark.parametrize("name", ["weights.safetensors", "masks.safetensors", "scores.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_file_of_an_individual_is_named_and_left_alone(run: RunDir, name: str, damage: str) -> None:
    path = run.path / "individuals/g01" / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[-1] ^= 1
        path.write_bytes(content if damage == "changed" else content[: len(content) // 2])
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(RunError, match=name):
        run.load_individual(1)
    assert (path.read_bytes() if path.exists() else None) == before


def test_any_changed_byte_of_the_lineage_is_noticed(run: RunDir) -> None:
    path = run.path / "lineage.jsonl"
    content = path.read_bytes()
    for place in range(0, len(content) - 1, 7):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(RunError, match=r"lineage\.jsonl is damaged"):
            run.load_lineage()


def test_a_lineage_cut_short_is_refused(run: RunDir) -> None:
    path = run.path / "lineage.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match="line 1"):
        run.load_lineage()


def test_a_run_of_a_future_version_asks_for_an_upgrade(run: RunDir) -> None:
    path = run.path / "plan.toml"
    path.write_text(path.read_text().replace("format = 1", "format = 2\nnew_field = 3"))
    with pytest.raises(RunError, match="newer synevo"):
        run.load_plan()


def test_a_plan_that_is_no_toml_is_damaged_and_one_with_an_unknown_field_is_refused(run: RunDir) -> None:
    path = run.path / "plan.toml"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2] + '"\n"')
    with pytest.raises(RunError, match=r"plan.toml is damaged"):
        run.load_plan()
    path.write_text("colour = 3\n" + whole)
    with pytest.raises(PlanError, match="colour"):
        run.load_plan()


def test_before_the_first_run_there_is_no_latest_one() -> None:
    with pytest.raises(RunError, match="no run"):
        latest()


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("runs/sharp-O", " Did you mean 'runs/sharp-0'?"),
        ("sharp-0", " Did you mean 'runs/sharp-0'?"),
        ("elsewhere/slimm", " Did you mean 'elsewhere/slim'?"),
        ("elsewhere/notez", ""),
        ("runs/zzz", ""),
        ("nowhere/zzz", ""),
    ],
)
def test_a_misspelled_run_is_answered_with_the_one_beside_it_or_in_runs(path: str, hint: str) -> None:
    for name in ("runs/sharp-0", "elsewhere/slim"):
        RunDir(Path(name)).save_plan(Plan())
    Path("elsewhere/notes").mkdir()
    with pytest.raises(RunError) as error:
        RunDir(Path(path)).require()
    assert error.value.problem == f"{path} is not a run: it has no plan.toml.{hint}"


def test_the_latest_run_is_the_last_one_written(run: RunDir) -> None:
    assert latest().path == Path("runs/a")
    with RunDir(Path("elsewhere/b")).writing():
        RunDir(Path("elsewhere/b")).save_plan(Plan())
    assert latest().path == Path("elsewhere/b")
    with run.writing():
        assert latest().path == Path("runs/a")


def test_a_second_writer_is_refused_and_told_who_writes(run: RunDir) -> None:
    code = (
        "from pathlib import Path; from synevo.runs.rundir import RunDir\nwith RunDir(Path('runs/a')).writing(): pass"
    )
    with run.writing():
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"process {os.getpid()}" in other.stderr
    assert "RunError" in other.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_full_disk_leaves_what_was_there(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for work in (
        lambda: run.save_individual(individual(2), Plan(), weights=WEIGHTS, masks=MASKS),
        lambda: run.save_plan(compose(sets=["seed=5"])),
    ):
        with pytest.raises(OSError, match="No space"):
            work()
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert after == before


def test_an_individual_without_its_line_is_replaced(run: RunDir) -> None:
    orphan = run.path / "individuals/g02"
    orphan.mkdir()
    (orphan / "weights.safetensors").write_bytes(b"half")
    run.save_individual(individual(2), Plan(), weights=WEIGHTS, masks=MASKS)
    np.testing.assert_array_equal(run.load_individual(2)[0]["full/bias"], WEIGHTS["full/bias"])


def test_a_lineage_keeps_its_plan(run: RunDir) -> None:
    run.save_individual(individual(2), Plan(), weights=WEIGHTS, masks=MASKS)
    run.check_plan(compose(sets=["evolution.generations=40", "evolution.max_drop=0.1"]))
    with pytest.raises(RunError, match=r"Generation 2 .* another plan"):
        run.check_plan(compose(sets=["environment.keep_synapses=0.5"]))
    with pytest.raises(RunError, match=r"Generation 1 .* another plan"):
        run.check_plan(compose(sets=["seed=1"]))


def test_before_there_is_an_offspring_only_the_ancestors_part_of_the_plan_is_fixed(run: RunDir) -> None:
    run.check_plan(compose(sets=["environment.keep_synapses=0.5", "training.epochs=9"]))
    with pytest.raises(RunError, match=r"Generation 1"):
        run.check_plan(compose(sets=["ancestor_training.epochs=9"]))


def test_a_compacted_network_is_checked_when_it_is_loaded(run: RunDir) -> None:
    folder = run.save_compact(1, weights=WEIGHTS, documents={"proof": {"max_difference": 0.0}})
    assert run.compacted() == [1]
    assert run.load_compact(1)[1]["proof"] == {"max_difference": 0.0}
    (folder / "proof.json").write_text(json.dumps({"max_difference": 1.0}))
    with pytest.raises(RunError, match=r"proof\.json"):
        run.load_compact(1)


def test_what_older_versions_called_the_numbers_of_a_proof_is_read_by_the_names_of_today(run: RunDir) -> None:
    """They proved images and logits alone."""
    old = {"steps": 7, "images": 4, "random_images": 5, "max_difference": 0.5, "largest_logit": 3.0}
    run.save_compact(1, weights=WEIGHTS, documents={"proof": {**old, "top1_agreement": 1.0}})
    assert run.load_compact(1)[1]["proof"] == {
        "steps": 7,
        "examples": 4,
        "random_examples": 5,
        "max_difference": 0.5,
        "largest_output": 3.0,
        "top1_agreement": 1.0,
    }


def test_a_lineage_of_accuracies_that_an_older_version_wrote_is_read_and_hashed_as_it_was_written(run: RunDir) -> None:
    path = run.path / "lineage.jsonl"
    entry = json.loads(path.read_text())
    del entry["check"]
    entry["individual"]["scores"] = {"validation_accuracy": 0.9, "test_accuracy": 0.875}
    check = hash_of(canonical(entry))
    path.write_text(json.dumps({**entry, "check": check}) + "\n")
    assert run.load_lineage().individuals == (individual(),)
    np.testing.assert_array_equal(run.load_individual(1)[0]["full/bias"], WEIGHTS["full/bias"])
