"""Several hosts: one lineage, one that writes, and a message where one of them stops. Hosts are processes here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_hosts import TESTS, apart, ended, free_port, killed, masks_of, when_it_is_kept
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.runs import stages, trusted
from synevo.runs.rundir import RunDir
from synevo.runs.several.hosts import is_of_another_host, seen_by_all
from synevo.training import hosts

pytestmark = pytest.mark.slow

GENERATIONS = 4
STILL = ["data.image_size=8", "data.fit=none", "training.epochs=2", "encoding.cluster=filter", "evolution.max_drop=1"]
STILL += ["ancestor_training.epochs=3", "ancestor_training.batch_size=64", "training.batch_size=64"]
STILL += ["ancestor_training.learning_rate=0.01", "training.learning_rate=0.01"]


def plan(generations: int) -> Plan:
    options = {"ancestor.name": "specimens:Tiny", "evolution.generations": generations}
    return compose(options=options, sets=STILL)


def alone(run: RunDir, generations: int) -> None:
    for _ in stages.evolve(run, run.load_plan().model_copy(update={"evolution": plan(generations).evolution})):
        pass


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A lineage of one host; and one that two hosts began, until one was killed, and that one host has ended."""
    folder = tmp_path_factory.mktemp("hosts")
    one, two = RunDir(folder / "one"), RunDir(folder / "two")
    trusted.remember("specimens:Tiny")
    for _ in stages.train_ancestor(one, plan(GENERATIONS)):
        pass
    shutil.copytree(one.path, two.path)
    alone(one, GENERATIONS)
    words = ["evolve", str(two.path), "--generations", str(GENERATIONS), "--max-drop", "1"]
    ((code, error, seconds),) = killed(two, words, when_it_is_kept, 1)
    kept = len(two.entries())
    alone(two, GENERATIONS)
    return {"one": one, "two": two, "code": code, "error": error, "seconds": seconds, "kept": kept}


def test_two_hosts_draw_the_masks_of_one_and_reach_its_scores(found: dict[str, Any]) -> None:
    bits, far = apart(found["one"], found["two"])
    assert bits == 0
    assert far < 1e-6
    living = [sum(int(mask.sum()) for mask in one.values()) for one in masks_of(found["one"])]
    assert len(living) == GENERATIONS
    assert sorted(living, reverse=True) == living
    assert living[-1] < living[0]


def test_weights_of_two_hosts_are_those_of_one_within_rounding(found: dict[str, Any]) -> None:
    ours, theirs = (found[name].load_individual(2)[0] for name in ("one", "two"))
    assert all(np.allclose(ours[name], theirs[name], rtol=0, atol=1e-4) for name in ours)
    differ = any(not np.array_equal(ours[name], theirs[name]) for name in ours)
    assert differ, "two hosts add in another order: were all bits alike, one host would have done it all"


def test_where_a_host_is_killed_the_other_ends_within_a_minute_with_a_message_and_what_to_do(
    found: dict[str, Any],
) -> None:
    assert found["code"] == 2, found["error"]
    assert "Error: Another host has stopped, or cannot be reached" in found["error"]
    assert "give the same command on every host again" in found["error"]
    assert "Traceback" not in found["error"]
    assert found["seconds"] < 60
    assert found["kept"] >= 2, "what was kept before, stays"


def test_hosts_compare_what_they_drew_and_the_death_of_the_one_that_writes_is_said(tmp_path: Path) -> None:
    port = str(free_port())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, str(TESTS / "on_hosts.py")]
    processes = [
        subprocess.Popen([*command, host, port], text=True, env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
        for host in ("0", "1")
    ]
    (first, one), (second, other) = ended(processes)
    assert "2 hosts, this writes" in one
    assert "2 hosts, another writes" in other
    for said in (one, other):
        assert "The hosts have drawn different masks: host 1 and host 0." in said
    assert first == -9
    assert second == 2, other
    assert "Another host has stopped" in other


LONE = """
from synevo.runs.several import hosts
hosts.ARRIVAL = 2
with hosts.joined(hosts.Cluster("127.0.0.1:{port}", 2, 0)):
    pass
"""


def test_a_host_to_which_no_other_comes_says_so_and_how_to_begin(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LONE.format(port=free_port())]
    lone = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert lone.returncode == 2
    assert "The hosts do not find each other within 2 seconds" in lone.stderr
    assert "--coordinator ADDRESS:PORT" in lone.stderr


def test_on_one_host_nothing_is_waited_for_and_the_run_is_as_it_is(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert seen_by_all(run) is run
    hosts.wait("for nobody")
    hosts.require_same("masks", {"a": np.zeros(1)})
    assert hosts.writes()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--hosts 2", "--hosts 2 needs --coordinator and --host."),
        ("--hosts many --coordinator a:1 --host 0", "--hosts many: this is no number of hosts."),
        ("--host 1", "--hosts is missing."),
        ("--hosts 2 --coordinator here --host 0", "--coordinator here: this is no ADDRESS:PORT."),
        ("--hosts 2 --coordinator here:99 --host 2", "--host 2 is none of 2: they are counted from 0."),
        ("--hosts auto --host 1", "--hosts auto finds --coordinator and --host by itself."),
        ("a b --hosts 2 --coordinator here:99 --host 1", "Several hosts work on one run at a time, not on 2."),
    ],
)
def test_options_that_do_not_say_which_hosts_are_refused(words: str, problem: str) -> None:
    done = CliRunner().invoke(app, ["evolve", *words.split()])
    assert done.exit_code == 2
    assert problem in done.stderr


def test_the_ancestor_of_another_run_is_taken_on_one_host() -> None:
    words = "train-ancestor --ancestor-of other --hosts 2 --coordinator here:99 --host 0"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 2
    assert "--ancestor-of takes files of a run, on one host" in done.stderr


def test_what_jax_says_of_another_host_is_told_from_other_errors() -> None:
    gone = ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
    assert is_of_another_host(gone)
    assert not is_of_another_host(ValueError("shapes do not match"))
    assert not is_of_another_host(KeyError("gloo"))
