"""Strict JAX, repeatable Hypothesis, and the two things that most tests start from: images, and a tiny network."""

import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from specimens import CLASSES, Specimen, Tiny, lay_out, specimen

from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.lineage.individuals import Individual, Scores
from synevo.plan.examples import DataPlan
from synevo.plan.fields import AncestorPlan, Plan
from synevo.runs import compacting, organisms, trusted
from synevo.runs.measuring import describe
from synevo.runs.rundir import RunDir
from synevo.tasks.classification import classification
from synevo.tasks.task import InMemory, Problem
from synevo.wiring import cutting
from synevo.wiring.units import keep_one

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_enable_checks", True)
jax.config.update("jax_legacy_prng_key", "error")

for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:  # started in the background: commands that tests start are not
        signal.signal(number, usual)

hypothesis.settings.register_profile("synevo", deadline=None, derandomize=True, database=None, max_examples=30)
hypothesis.settings.load_profile("synevo")

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="synevo-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
"""Tests remember no ancestor for the person who runs them."""

MAY_BE_SKIPPED = {
    "no Chromium is installed": "Debian's package chromium",
    "TFDS_DATA_DIR names no folder that holds": "a prepared data set",
    "there is no folder of real networks beside TFDS_DATA_DIR": "networks that others have trained",
    "torch is not installed": "the extra torch",
    "ray is not installed": "the extra cluster",
}
"""Reasons for which continuous integration may skip a test, and what is missing then."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="Fail on a skip for a reason that nobody expects.")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("--strict-skips") or reporter is None:
        return
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", ())}
    unexpected = {reason for reason in reasons if not any(known in reason for known in MAY_BE_SKIPPED)}
    for reason in sorted(unexpected):
        reporter.write_line(f"Skipped for a reason that nobody expects: {reason}", red=True)
    if unexpected:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module", autouse=True)
def _programs_are_dropped() -> Iterator[None]:
    """Drop the programs of a module after it: each that is kept slows all later compilations, in the end a hundredfold.

    MLIR looks through its contexts, of which every program keeps some, whenever one is made.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def digits() -> Problem:
    """The handwritten digits 0 to 3, 8 x 8 pixels: 256 to train on, 64 to decide by, 64 to test."""
    found = load_digits()
    wanted = found.target < CLASSES
    pixels = (found.images[wanted, :, :, None] * 15.9).astype(np.uint8)
    labels = found.target[wanted].astype(np.int32)

    def split(first: int, count: int) -> InMemory:
        return InMemory({"image": pixels[first : first + count], "label": labels[first : first + count]})

    return Problem(classification((0.3,), (0.4,)), split(0, 256), split(256, 64), split(320, 64))


@pytest.fixture(scope="session")
def tiny() -> Specimen:
    """The tiny network that most tests evolve, as it is before any training."""
    return specimen(Tiny)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run on small digits whose second generation has lost filters and whole groups, compacted; not to be changed."""
    run = two_generations(tmp_path_factory.mktemp("runs") / "pipeline", "specimens:Pipeline")
    compacting.compact(run, run.load_plan())
    return run


def two_generations(path: Path, ancestor: str) -> RunDir:
    """A run of an ancestor of random weights and an offspring without half of its units: nothing is trained."""
    run = RunDir(path)
    data = DataPlan(image_size=8, fit="none", normalise="standardise")
    plan = Plan().model_copy(update={"data": data, "ancestor": AncestorPlan(name=ancestor)})
    run.save_plan(plan)
    run.save_machine(describe())
    trusted.remember(ancestor)
    species = organisms.prepare(plan).species
    whole, wiring = species.template, species.anatomy.wiring
    alive = keep_one(wiring, np.arange(wiring.units) % 2 == 1)
    ancestor = Organism.first(species, whole)
    offspring = lay_out(cutting.cut_masks(ancestor.masks, wiring, alive), wiring, alive, whole)
    both = [ancestor, Organism(species, cutting.cut(whole, wiring, alive), offspring, alive)]
    for generation, organism in enumerate(both, 1):
        counts, scores = census.count(organism), Scores(0.9, 0.9)
        parents = (generation - 1,) if generation > 1 else ()
        individual = Individual(
            generation=generation,
            parents=parents,
            counts=counts,
            scores=scores,
            expected_synapses=None,
            sampled_synapses=None,
            learning_rate=0.001,
            epochs=1,
            seconds=1.0,
        )
        weights, bits = organisms.to_tensors(organism)
        run.save_individual(individual, plan, weights=weights, masks=bits)
    return run
