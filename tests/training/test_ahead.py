"""Examples that are read ahead of the step: the same to the bit, from any step on, and no thread outlives them."""

import threading
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pytest
from specimens import Specimen, random_masks
from test_evaluation import Read
from test_training import PLAN, copy, same, train

from synevo import keys
from synevo.errors import DataError
from synevo.model.network import Network
from synevo.tasks.classification import moved
from synevo.tasks.distillation import distilled
from synevo.tasks.task import InMemory, Problem
from synevo.training import teaching
from synevo.training.evaluation import evaluate, outputs_of
from synevo.training.fit import State, fit, start
from synevo.training.reading import AHEAD, THREAD, batches
from synevo.training.teaching import taught_by
from synevo.wiring import masks

pytestmark = pytest.mark.slow


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@dataclass(frozen=True)
class Noted:
    """Examples that note which batches were read, and by which thread."""

    count: int
    read: list[int] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, places: np.ndarray) -> Any:
        self.read.append(int(places[0]))
        self.threads.add(threading.current_thread().name)
        return {"x": places.astype(np.float32)}


class Torn(Read):
    """Examples of which one cannot be read."""

    def __getitem__(self, places: np.ndarray) -> Any:
        if 7 in places:
            raise ValueError("no such page")
        return super().__getitem__(places)


@pytest.fixture(scope="module")
def lazy(digits: Problem) -> Problem:
    parts = {name: Read(getattr(digits, name).arrays) for name in ("train", "validation", "test")}
    return digits._replace(**parts)


def test_one_thread_reads_in_order_and_no_further_ahead_than_its_bound() -> None:
    examples = Noted(40)
    places = [np.array([place]) for place in range(40)]
    with batches(examples, places) as read:
        for place, batch in enumerate(read):
            assert batch["x"][0] == place
            assert len(examples.read) <= place + 1 + AHEAD
    assert (examples.read, examples.threads) == (list(range(40)), {THREAD})
    assert readers() == []


def test_a_reader_ends_when_nobody_reads_on(tiny: Specimen, lazy: Problem) -> None:
    def stop(read: Any) -> None:
        next(read)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), batches(lazy.train, [np.arange(4)] * 100) as read:
        stop(read)
    assert readers() == []
    seen = moved(lazy.task, shift=PLAN.shift, flip=PLAN.flip)
    running = fit(keys.root(0), start(copy(tiny.network), PLAN, lazy.train), seen, lazy.train, PLAN, masks={}, pause=1)
    assert next(running).step == 1
    running.close()  # type: ignore[attr-defined]
    assert readers() == []


def test_what_goes_wrong_in_the_thread_is_an_error_of_the_user_s_with_its_line(tiny: Specimen, digits: Problem) -> None:
    torn = digits._replace(train=Torn(digits.train.arrays))  # type: ignore[attr-defined]
    for use in (lambda: train(tiny.network, torn, {}), lambda: evaluate(tiny.network, torn.task, torn.train)):
        with pytest.raises(DataError, match=r"Torn raised ValueError .*: no such page \(test_ahead\.py:\d+\)"):
            use()
        assert readers() == []


def test_an_error_of_the_house_stays_what_it_is() -> None:
    class Damaged(Noted):
        def __getitem__(self, places: np.ndarray) -> Any:
            raise DataError("cat/7.jpg cannot be read.", remedy="Replace it.")

    with (
        pytest.raises(DataError, match=r"^cat/7\.jpg cannot be read\.\nReplace it\.$"),
        batches(Damaged(3), [np.arange(3)]) as read,
    ):
        next(read)


@pytest.mark.parametrize("streamed", [False, True], ids=["resident", "streamed"])
def test_a_training_goes_on_within_an_epoch_to_the_bit(
    tiny: Specimen, digits: Problem, lazy: Problem, *, streamed: bool
) -> None:
    """From every fifth step, however the examples are kept: the states after it equal those that never stopped."""
    problem, alive = lazy if streamed else digits, random_masks(tiny, 0.6, 1)
    seen = moved(problem.task, shift=PLAN.shift, flip=PLAN.flip)
    sparse = masks.apply(alive, tiny.network)

    def states(begin: State) -> list[State]:
        return [
            State(copy(after.network), copy(after.optimiser), after.epoch, after.loss, after.step)
            for after in fit(keys.root(0), begin, seen, problem.train, PLAN, masks=alive, pause=5)
        ]

    whole = states(start(copy(sparse), PLAN, problem.train))
    assert [(state.epoch, state.step) for state in whole[:5]] == [(0, 5), (0, 10), (0, 15), (1, 0), (1, 5)]
    expected = train(sparse, digits, alive)
    for place in (1, 4, 6):
        kept = whole[place]
        leaves = [np.asarray(leaf) for leaf in kept.leaves()]
        fresh = start(copy(sparse), PLAN, problem.train)
        resumed = states(fresh.filled(leaves, epoch=kept.epoch, step=kept.step, loss=kept.loss))
        assert [(state.epoch, state.step) for state in resumed] == [
            (state.epoch, state.step) for state in whole[place + 1 :]
        ]
        ends = [state for state in resumed if not state.step]
        for state, never_stopped in zip(ends, expected[kept.epoch :], strict=True):
            assert same(state.network, never_stopped.network)
            assert state.loss == never_stopped.loss


def test_what_is_read_scores_and_answers_as_what_is_in_memory(tiny: Specimen, digits: Problem, lazy: Problem) -> None:
    assert evaluate(tiny.network, lazy.task, lazy.test) == evaluate(tiny.network, digits.task, digits.test)
    read, held = (outputs_of(tiny.network, one.task, one.train) for one in (lazy, digits))
    assert read.tobytes() == held.tobytes()


DISTILLED = PLAN.model_copy(update={"distillation": 0.5})


def learnt(student: Network, examples: Any, problem: Problem) -> Network:
    task = distilled(problem.task, share=0.5, temperature=4.0)
    *_, state = fit(keys.root(0), start(copy(student), PLAN, examples), task, examples, PLAN, masks={})
    return state.network


def test_a_teacher_s_answers_are_held_where_they_are_few_and_else_computed_as_they_are_read(
    tiny: Specimen, digits: Problem, lazy: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = train(tiny.network, digits, {})[-1].network
    resident, few = (taught_by(teacher, one.task, one.train, DISTILLED).examples for one in (digits, lazy))
    assert isinstance(resident, InMemory)
    expected = learnt(tiny.network, resident, digits)
    assert same(learnt(tiny.network, few, digits), expected)
    monkeypatch.setattr(teaching, "HELD", 0)
    many = taught_by(teacher, lazy.task, lazy.train, DISTILLED).examples
    assert not any(isinstance(leaf, np.ndarray | jax.Array) for leaf in vars(many).values())
    found, wanted = (one[np.arange(9)].answers for one in (many, few))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    for name, array in learnt(tiny.network, many, digits).parameters.items():
        np.testing.assert_allclose(array, expected.parameters[name], rtol=1e-3, atol=1e-4)
