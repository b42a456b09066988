"""Training of a user's own: an optimiser and an augmentation, functions that are named in the plan.

They are found when a training starts, and tried on shapes before the first step, so that whatever is wrong with them is
said with their line. Nothing else imports them: a network that was trained with them is read without.

    def lion(learning_rate: float, steps: int) -> optax.GradientTransformation: ...

    def brighter(key: Array, batch: Batch) -> Batch: ...             the `augment` of a task: `synevo.tasks.task`
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from synevo.errors import SynevoError, TrainingError
from synevo.keys import derive
from synevo.model.named import find_named, line_of
from synevo.plan.fields import TrainingPlan
from synevo.plan.kinds import ADAM
from synevo.tasks.task import Batch, Task


class _Form(NamedTuple):
    """The type and the shape of an array."""

    dtype: Any
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return the form as in float32 [2, 3]."""
        return f"{self.dtype} {list(self.shape)}"


Maker = Callable[[float, int], optax.GradientTransformation]
"""A function from the peak learning rate and the number of all steps of a training to its optimiser."""

_OPTIMISER = (
    "An optimiser is named as package.module:function, a function of the learning rate and the number of steps that "
    "returns an optax.GradientTransformation for a dictionary of parameters (synevo guide own-training)."
)
_AUGMENT = (
    "An augmentation is named as package.module:function, a function of a random key and a batch that returns the "
    "batch in the same types and shapes and runs under jax.jit; pixels (uint8) may become floats of 0 … 255 "
    "(synevo guide own-training)."
)


def find_maker(plan: TrainingPlan) -> Maker | None:
    """Return the user's function that makes the optimiser of a plan; None where the plan's is built in.

    Raises:
        TrainingError: if it cannot be imported or is not callable.
    """
    return None if plan.optimiser == ADAM else _find(plan.optimiser, "the optimiser")


def make(maker: Maker, plan: TrainingPlan, steps: int) -> optax.GradientTransformationExtraArgs:
    """Return the optimiser that a user's function makes for a training of so many `steps` in all.

    Raises:
        TrainingError: if the function raises something, or returns no `optax.GradientTransformation`.
    """
    made = _called(f"The optimiser {plan.optimiser}", _OPTIMISER, maker, partial(maker, plan.learning_rate, steps))
    if isinstance(made, optax.GradientTransformation):
        return optax.with_extra_args_support(made)
    raise TrainingError(
        f"The optimiser {plan.optimiser} returned a {type(made).__name__}, not an optax.GradientTransformation "
        f"({line_of(maker)}).",
        remedy=_OPTIMISER,
    )


def first_state(maker: Maker, plan: TrainingPlan, steps: int, parameters: Mapping[str, Array]) -> Any:
    """Return the state of a user's optimiser before the first step, in memory of its own, after a trial on shapes.

    Raises:
        TrainingError: if the optimiser raises something, or its updates or its state change their shapes.
    """
    what, call = f"The optimiser {plan.optimiser}", partial(_called, f"The optimiser {plan.optimiser}", _OPTIMISER)
    optimiser = make(maker, plan, steps)
    own = dict(parameters)
    state = call(maker, lambda: jax.tree.map(jnp.array, optimiser.init(own)))

    def update(parameters: Any, state: Any) -> Any:
        return optimiser.update(parameters, state, parameters, value=jnp.zeros(()))

    empty = [place for place, form in _forms(state).items() if 0 in form.shape]
    if empty:
        raise TrainingError(
            f"{what} has an array without values in its state, at {empty[0]} ({line_of(maker)}).",
            remedy="Leave it out: a checkpoint cannot hold it.",
        )
    updates, after = call(maker, lambda: jax.eval_shape(update, own, state))
    _require_alike(f"{what} gives updates unlike the parameters", _OPTIMISER, maker, _forms(own), _forms(updates))
    _require_alike(f"{what} changes the form of its state", _OPTIMISER, maker, _forms(state), _forms(after))
    return state


def augmented(task: Task, plan: TrainingPlan) -> Task:
    """Return a task whose batches also go through the user's augmentation before a step, if the plan names one.

    Raises:
        TrainingError: if it cannot be imported or is not callable; when it is used, if it raises something, or returns
            other shapes.
    """
    if plan.augment is None:
        return task
    return _augmented(task, plan.augment, _find(plan.augment, "the augmentation"))


def try_augment(task: Task, plan: TrainingPlan, batch: Batch) -> None:
    """Try the user's augmentation, which the plan names, on the shapes of a batch; errors as in `augmented`."""
    jax.eval_shape(augmented(task, plan).augment, jax.random.key(0), batch)


@cache
def _augmented(task: Task, name: str, function: Callable[..., Any]) -> Task:
    return replace(task, augment=partial(_augment, task, name, function))


def _augment(task: Task, name: str, function: Callable[..., Any], key: Array, batch: Batch) -> Batch:
    batch = task.augment(key, batch)
    what = f"The augmentation {name}"
    found = _called(what, _AUGMENT, function, lambda: function(derive(key, "own"), batch))
    before = _forms(batch)
    after = {place: _of_pixels(before.get(place), form) for place, form in _forms(found).items()}
    _require_alike(f"{what} returns another batch than it is given", _AUGMENT, function, before, after)
    return found


def _find(name: str, what: str) -> Any:
    """Return a user's function, in a form that can be hashed."""
    found = find_named(name, what=what, error=TrainingError)
    return found if isinstance(found, Hashable) else found.__call__  # a bound method counts by its object's identity


def _called(what: str, remedy: str, function: Any, call: Callable[[], Any]) -> Any:
    """Return the result of a call of a user's function; raise TrainingError in place of what it raises."""
    try:
        return call()
    except SynevoError:
        raise
    except Exception as error:  # whatever the user's code raises
        said = (str(error).strip() or "no message").splitlines()[0].rstrip(".")
        raise TrainingError(
            f"{what} raised {type(error).__name__}: {said} ({line_of(function, error)}).", remedy=remedy
        ) from error


def _forms(tree: Any) -> dict[str, _Form]:
    """Return the types and shapes of the arrays in a tree by their places."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): _Form(jnp.result_type(leaf), jnp.shape(leaf)) for path, leaf in leaves}


def _of_pixels(before: _Form | None, after: _Form) -> _Form:
    """Return the form that arrays had `before`, if all that was done is to make floats of pixels; else that `after`."""
    if before is None or before.dtype != jnp.uint8 or not jnp.issubdtype(after.dtype, jnp.floating):
        return after
    return after._replace(dtype=before.dtype)


def _require_alike(
    problem: str, remedy: str, function: Callable[..., Any], before: Mapping[str, _Form], after: Mapping[str, _Form]
) -> None:
    """Raise TrainingError, with the first place at which they differ, unless two trees have the same forms."""
    for place in (*before, *after):
        was, found = (str(forms.get(place, "nothing")) for forms in (before, after))
        if was != found:
            raise TrainingError(
                f"{problem}: {found}, not {was}, at {place or 'the top'} ({line_of(function)}).", remedy=remedy
            )
