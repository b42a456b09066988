"""Mutation: new synapses join living units, and nothing that lived is lost."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from specimens import Specimen, random_masks

from synevo import keys
from synevo.genetics import mutation, viability
from synevo.wiring.masks import Masks

pytestmark = pytest.mark.slow


def viable(of: Specimen, density: float, seed: int) -> tuple[Masks, np.ndarray]:
    parent = {name: np.ones_like(mask) for name, mask in random_masks(of, 1.0, 0).items()}
    weights = {name: np.abs(np.asarray(array)) for name, array in of.network.parameters.items()}
    alive, units, _ = viability.make_viable(of.wiring, weights, parent, random_masks(of, density, seed))
    return alive, units


def room(of: Specimen, units: np.ndarray) -> int:
    """Synapses between living units, one at a time."""
    count = 0
    for layer in of.wiring.layers:
        positions = of.network.parameters[layer.name].size // (len(layer.inputs) * len(layer.outputs))
        for source in layer.inputs:
            for target in layer.outputs:
                count += positions * all(unit < 0 or units[unit] for unit in (source, target))
    return count


def total(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


@given(st.integers(0, 10_000), st.floats(0.02, 0.5), st.integers(0, 400))
def test_as_many_synapses_grow_as_are_asked_for_or_as_there_is_room(
    tiny: Specimen, seed: int, density: float, count: int
) -> None:
    before, units = viable(tiny, density, seed)
    after = mutation.regrow(keys.root(seed), tiny.wiring, before, units, count)
    assert all((after[name] | ~mask).all() for name, mask in before.items())
    assert total(after) == min(total(before) + count, room(tiny, units))


def test_new_synapses_bring_no_unit_back_to_life(tiny: Specimen) -> None:
    before, units = viable(tiny, 0.05, 3)
    assert not units.all()
    everything = mutation.regrow(keys.root(0), tiny.wiring, before, units, 10**6)
    weights = {name: np.abs(np.asarray(array)) for name, array in tiny.network.parameters.items()}
    again, still, _ = viability.make_viable(tiny.wiring, weights, everything, everything)
    assert (still == units).all()
    assert all((again[name] == mask).all() for name, mask in everything.items())


def test_every_dead_synapse_is_as_likely_as_another(tiny: Specimen) -> None:
    before, units = viable(tiny, 0.3, 5)
    draws = 400
    grown = [mutation.regrow(key, tiny.wiring, before, units, 20) for key in jax.random.split(keys.root(1), draws)]
    new = np.concatenate(
        [np.sum([one[name] & ~mask for one in grown], axis=0).ravel() for name, mask in before.items()]
    )
    free = room(tiny, units) - total(before)
    expected = 20 / free
    often = new[new > 0] / draws
    assert len(often) == free
    assert np.abs(often - expected).max() < 6 * np.sqrt(expected * (1 - expected) / draws)
