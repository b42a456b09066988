"""The paper family's results, for comparison with a lineage, each marked with its certainty.

seen: read in a text of the family; digitised: read off a figure; recalled: from memory, never checked. The family
leaves the classifier out of its counts.
"""

from typing import Any

_MNIST = (
    # generation, accuracy, synaptic efficiency, cluster efficiency: 1709.02043, asexual, digitised
    (5, 0.994, 5.3, 1.6),
    (7, 0.991, 13.7, 2.3),
    (9, 0.990, 34.0, 3.7),
    (10, 0.9865, 51.0, 4.9),
    (11, 0.982, 77.0, 6.5),
    (12, 0.981, 120.0, 9.2),
    (13, 0.971, 139.0, 14.1),
)


def _point(generation: int, accuracy: float, synaptic: float, cluster: float | None) -> dict[str, Any]:
    return {
        "generation": generation,
        "test_score": accuracy,
        "synaptic_efficiency": synaptic,
        "cluster_efficiency": cluster,
    }


MNIST: tuple[dict[str, Any], ...] = (
    {
        "name": "one parent, 1709.02043",
        "mark": "digitised",
        "task": "MNIST, LeNet-5",
        "points": [_point(*row) for row in _MNIST],
    },
    {
        "name": "two parents, 1709.02043",
        "mark": "seen",
        "task": "MNIST, LeNet-5",
        "points": [_point(8, 0.974, 258.37, 34.29)],
    },
    {
        "name": "one parent, 1609.01360",
        "mark": "recalled",  # the accuracy; the efficiencies are seen
        "task": "MNIST, LeNet-5",
        "points": [_point(13, 0.9775, 125.0, 9.71)],
    },
)

CIFAR10: tuple[dict[str, Any], ...] = (
    {
        "name": "1609.01360, AlexNet",
        "mark": "recalled",
        "task": "CIFAR-10, AlexNet",
        "points": [_point(6, 0.8459, 14.39, None)],
    },
    {
        "name": "two parents, 1709.02043, LeNet-5",
        "mark": "seen",
        "task": "CIFAR-10, LeNet-5",
        "points": [_point(0, 0.679, 36.3, None)],
    },
)


def beside(dataset: str) -> list[dict[str, Any]]:
    """Return the family's figures on a data set, MNIST or CIFAR-10; those on others have no place beside a run."""
    if dataset.startswith("cifar10"):
        return list(CIFAR10)
    return list(MNIST) if dataset == "mnist" else []
