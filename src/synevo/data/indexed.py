"""Examples of whatever has a length and gives single examples by their place, as Grain's and Hugging Face's sets do.

    train = Indexed(load_dataset("csv", data_files="train.csv")["train"])          rows are dictionaries of numbers
    train = Indexed(grain.MapDataset.source(rows).map(decode))                     lazily, in other threads as you like

A single example is a pytree of numbers and arrays, and those of all examples are stacked: every leaf gets a first axis.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from synevo.errors import DataError
from synevo.tasks.task import Batch


class Single(Protocol):
    """A sequence of single examples."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def __getitem__(self, place: int, /) -> Any:
        """Return the example at a place."""
        ...


@dataclass(frozen=True)
class Indexed:
    """Examples read one at a time from a `source`, and stacked; `prepare` makes of each what goes into the batch."""

    source: Single
    prepare: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.source)

    def __getitem__(self, places: NDArray[np.intp], /) -> Batch:
        """Return the batch of the examples at `places` [n].

        Raises:
            DataError: if examples differ in their structure or in the shapes of their arrays, or hold what is no
                number.
        """
        examples = [self._one(int(place)) for place in places]
        shapes = [_form(one) for one in examples]
        odd = next((number for number, shape in enumerate(shapes) if shape != shapes[0]), None)
        if odd is not None:
            raise DataError(
                f"Examples {int(places[0])} and {int(places[odd])} differ: {shapes[0]} and {shapes[odd]}.",
                remedy="Give every example the same arrays in the same shapes: Indexed(source, prepare=function).",
            )
        return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)

    def _one(self, place: int) -> Any:
        """Return one example, each leaf an array of numbers."""
        found = self.source[place]
        example = jax.tree.map(np.asarray, found if self.prepare is None else self.prepare(found), is_leaf=_is_list)
        for path, leaf in jax.tree.leaves_with_path(example):
            if leaf.dtype.kind not in "biufc":
                raise DataError(
                    f"Example {place} holds {leaf.dtype} at {jax.tree_util.keystr(path) or 'its root'}, and batches "
                    "are arrays of numbers.",
                    remedy="Leave it out, or make numbers of it: Indexed(source, prepare=function of an example).",
                )
        return example


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _form(example: Any) -> str:
    shapes = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(example))
    return f"{jax.tree.structure(example)} of {shapes}".removeprefix("PyTreeDef(").replace(") of", " of")
