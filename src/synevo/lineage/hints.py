"""Hints before a training: what so few examples ask of a plan, told from their number alone.

A batch that is most of the data makes an epoch of a single step, so that "ten epochs" are ten steps; and of the
examples that are left over in each epoch nothing is learnt.
"""

from synevo.lineage.doubts import Doubt
from synevo.plan.examples import CLASSIFICATION
from synevo.plan.fields import Plan, TrainingPlan

_FEW = 1000
"""Fewer training images than these are learnt by heart sooner than understood."""

_STEPS = 10
"""The least number of steps of an epoch with the batches that are proposed."""


def of_batches(plan: Plan, train: int) -> list[Doubt]:
    """Return the doubt about trainings whose batch is most of `train` training examples, if there are any."""
    sections = {"ancestor_training": plan.ancestor_training, "training": plan.training}
    large = {name: one for name, one in sections.items() if one.epochs and _is_most(one, train)}
    if not large or train < _STEPS:
        return []
    size = max(one.batch_size for one in large.values())
    smaller = 2 ** max(2, (train // _STEPS).bit_length() - 1)
    left = train - min(size, train)
    rest = f", and leaves {left:,} of them out" if left else ""
    advice = " ".join(f"--set {name}.batch_size={smaller}" for name in large)
    return [
        Doubt(
            "batch",
            f"A batch of {size:,} is most of the {train:,} training examples: an epoch has a single step{rest}. A new "
            f"run learns more from so few in smaller batches: {advice}.",
        )
    ]


def of_few_images(plan: Plan, train: int) -> str:
    """Return what helps with so few training images, of what a plan does not do yet; "" where they are many."""
    if train >= _FEW or plan.task.name != CLASSIFICATION:
        return ""
    sections = {"ancestor_training": plan.ancestor_training, "training": plan.training}
    still = [name for name, one in sections.items() if one.epochs and not (one.shift or one.flip or one.augment)]
    shifts = " ".join(f"--set {name}.shift=2" for name in still)
    ways = [
        f"images that are moved at random ({shifts}; flip=true mirrors them)" if still else "",
        "a network that was trained elsewhere (`synevo guide adopt`)" if plan.ancestor.weights is None else "",
        "a larger share to validate (--set data.validation=0.3), since decisions rest on it",
    ]
    return f"Hint: {train:,} training images are few. What helps: {'; '.join(filter(None, ways))}."


def _is_most(training: TrainingPlan, train: int) -> bool:
    """Return whether an epoch of a training has one step."""
    return 2 * training.batch_size > train
