"""A network for images of classes gives one logit for each class; all else is refused before any work."""

from typing import Any

import jax
import numpy as np
import pytest
from compilations import compiled
from flax import nnx

from synevo.errors import AncestorError
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.runs.organisms import load_organism, prepare, resolve
from synevo.runs.rundir import RunDir


class Head(nnx.Module):
    """A network for the digits whose outputs are told by its `width` and `shaped`."""

    width: int = 10

    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        del classes
        self.a = nnx.Linear(shape[0] * shape[1] * shape[2], self.width, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.shaped(self.a(x.reshape(x.shape[0], -1)))

    def shaped(self, logits: Any) -> Any:
        return logits


class TooFew(Head):
    width = 7


class TooMany(Head):
    width = 12


class Places(Head):
    def shaped(self, logits: Any) -> Any:
        return logits[:, None, None, :]


class Several(Head):
    def shaped(self, logits: Any) -> Any:
        return logits, logits[:, :3]


class Named(Head):
    def shaped(self, logits: Any) -> Any:
        return {"logits": logits}


class Decided(Head):
    def shaped(self, logits: Any) -> Any:
        return logits > 0


def planned(ancestor: str) -> Plan:
    """The plan of a run on the digits, whose images have 8 x 8 places and 10 classes."""
    return resolve(compose(options={"data.dataset": "digits", "ancestor.name": f"{__name__}:{ancestor}"}))


@pytest.mark.parametrize(
    ("ancestor", "found"),
    [
        ("TooFew", r"float32 \[n, 7\]"),
        ("TooMany", r"float32 \[n, 12\]"),
        ("Places", r"float32 \[n, 1, 1, 10\]"),
        ("Several", r"a tuple of \[n, 10\], \[n, 3\]"),
        ("Named", r"a dict of \[n, 10\]"),
        ("Decided", r"bool \[n, 10\]"),
    ],
)
def test_outputs_that_are_not_one_logit_for_each_class_are_refused_with_both_numbers(ancestor: str, found: str) -> None:
    with pytest.raises(AncestorError, match=f"gives {found} for images of 10 classes") as error:
        prepare(planned(ancestor))
    assert "10 outputs" in error.value.remedy


def test_logits_of_all_classes_are_accepted() -> None:
    assert prepare(planned("Head")).species.template.parameters["a/kernel"].shape[1] == 10


def test_to_go_on_with_a_run_nothing_is_initialised_and_no_program_compiled_but_for_a_key(finished: RunDir) -> None:
    plan = finished.load_plan()
    jax.clear_caches()
    with compiled() as programs:
        context = prepare(plan, initialised=False)
        organism = load_organism(finished, context.species, 2)
    assert set(programs) <= {"jit(stage)", "jit(_threefry_seed)"}
    whole = prepare(plan)
    assert whole.species.template.blueprint == context.species.template.blueprint
    again = load_organism(finished, whole.species, 2)
    assert again.network.blueprint == organism.network.blueprint
    for name, array in again.network.arrays.items():
        np.testing.assert_array_equal(organism.network.arrays[name], array)
