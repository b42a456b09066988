"""What a heredity has measured of a parent is kept with it: a sibling, or another environment, measures nothing again.

It counts only for what it was measured on. `basis_of` is a hash of all of that: the weights and the living synapses,
the program of the network and the loss, the training examples, the heredity and what it is told. Where any of it is
another, the parent is measured anew.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from synevo.genetics import heredity, removal
from synevo.genetics.archive import Archive
from synevo.genetics.heredity import HEREDITIES, Worth, by_size
from synevo.genetics.organism import Organism
from synevo.genetics.removal import LATENCY, NO_PRICES, SYNAPSES, Prices
from synevo.plan.fields import EncodingPlan
from synevo.tasks.task import Examples, Task, at_once, first
from synevo.wiring.fingerprint import fingerprint
from synevo.wiring.tracing import trace

VERSION = 1
"""The version of the measures: what an older one has measured does not count."""

_READ = max(removal.EXAMPLES, heredity.SENSED, heredity.BATCH * heredity.BATCHES)
"""The number of training examples, the first ones, that any measure reads."""


def worth_of(
    parent: Organism,
    names: Sequence[str],
    task: Task,
    examples: Examples,
    plan: EncodingPlan,
    archive: Archive,
    over: Callable[[Examples], Examples] = lambda examples: examples,
    prices: Prices = NO_PRICES,
) -> Worth:
    """Return the worth of a parent's synapses and clusters by the heredity of a plan.

    If it is measured, the `archive` keeps it with the individuals that the parent is made of, by their `names`. `over`
    gives the examples as they are measured on: it may spread them over devices. `prices` are the times of filters, for
    the cost `latency`.
    """
    own = HEREDITIES[plan.heredity]
    if not own.measured:
        return own.worth(parent, task, examples, plan)  # looks at no example
    basis = basis_of(parent, task, examples, plan, prices)
    found = archive.recall(names, basis)
    if found is None:
        found = own.worth(parent, task, over(examples), plan, prices=prices)
        archive.remember(names, basis, _beyond_size(parent, found))
    return found if found.synapses else found._replace(synapses=by_size(parent).synapses)


def _beyond_size(parent: Organism, worth: Worth) -> Worth:
    """Return a worth without that of the synapses where this is their size, which needs no keeping."""
    sizes = by_size(parent).synapses
    same = all(np.array_equal(worth.synapses[name], array) for name, array in sizes.items())
    return worth._replace(synapses={}) if same else worth


def basis_of(parent: Organism, task: Task, examples: Examples, plan: EncodingPlan, prices: Prices = NO_PRICES) -> str:
    """Return the SHA-256 of all that the worth of a parent depends on, in hexadecimal."""
    count = min(_READ, len(examples))
    size = at_once(examples, count)
    network = parent.network

    def loss(arrays: dict[str, Any], batch: Any) -> Any:
        return task.loss(network.like(arrays)(*task.inputs(batch)), batch)

    told = [plan.heredity, plan.audit, *([plan.cost] if plan.cost != SYNAPSES else [])]
    if LATENCY in plan.cost.split("+"):
        told += [f"{name} {prices[name]!r}" for name in sorted(prices)]
    whole = hashlib.sha256(" ".join(map(str, [VERSION, *told])).encode())
    whole.update(fingerprint(trace(loss, network.arrays, first(examples, 2), located=False, unrolled=False)).encode())
    _add(whole, (network.arrays, parent.masks, parent.units))
    for start in range(0, count, size):
        _add(whole, examples[np.arange(start, min(start + size, count))])
    return whole.hexdigest()


def _add(whole: Any, tree: Any) -> None:
    """Add the arrays of a pytree, with their places in it, to a hash."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        whole.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        whole.update(array.tobytes())
