"""What was measured of an individual of a run: read as it was written, or measured again."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import two_generations

from synevo.genetics.heredity import Worth
from synevo.plan.fields import Plan
from synevo.runs import stages
from synevo.runs.organisms import load_worth, save_worth
from synevo.runs.rundir import RunDir
from synevo.runs.verification import verify_files

pytestmark = pytest.mark.slow

BASIS = "0123456789abcdef" * 4
WORTH = Worth({"conv/kernel": jnp.arange(6.0).reshape(2, 3)}, np.array([0.1, -1e-9, 3.0]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = two_generations(tmp_path_factory.mktemp("worths") / "run", "specimens:Pipeline")
    save_worth(run, "g01", BASIS, WORTH)
    return run


def same(found: Worth | None) -> bool:
    return (
        found is not None
        and found.clusters is not None
        and np.array_equal(found.synapses["conv/kernel"], WORTH.synapses["conv/kernel"])
        and np.array_equal(found.clusters, WORTH.clusters)
    )


def test_it_is_read_as_it_was_written(run: RunDir) -> None:
    assert same(load_worth(run, "g01", BASIS))


def test_without_filters_or_synapses_it_has_none(run: RunDir) -> None:
    save_worth(run, "g02", BASIS, Worth({"full": jnp.ones(3)}))
    found = load_worth(run, "g02", BASIS)
    assert found is not None
    assert found.clusters is None
    save_worth(run, "g02", BASIS, Worth({}, np.ones(2)))
    found = load_worth(run, "g02", BASIS)
    assert found is not None
    assert found.synapses == {}


def test_what_was_measured_on_something_else_or_never_is_not_found(run: RunDir) -> None:
    assert load_worth(run, "g01", BASIS[::-1]) is None
    assert load_worth(run, "g07", BASIS) is None


@pytest.mark.parametrize("harm", ["cut", "changed", "emptied"])
def test_a_damaged_one_is_not_used(run: RunDir, harm: str) -> None:
    path = run.path / "individuals" / "g01" / "worth.safetensors"
    whole = path.read_bytes()
    place = whole.index(np.float64(3.0).tobytes())
    changed = whole[:place] + np.float64(4.0).tobytes() + whole[place + 8 :]
    path.write_bytes({"cut": whole[:-9], "changed": changed, "emptied": b""}[harm])
    assert load_worth(run, "g01", BASIS) is None
    path.write_bytes(whole)
    assert same(load_worth(run, "g01", BASIS))


def test_another_run_takes_it_along_with_the_ancestor_and_both_verify(run: RunDir, tmp_path: Path) -> None:
    other = RunDir(tmp_path / "other")
    list(stages.take_ancestor(other, Plan(), run))
    assert same(load_worth(other, "g01", BASIS))
    for one in (run, other):
        assert all(check.holds for check in verify_files(one))
