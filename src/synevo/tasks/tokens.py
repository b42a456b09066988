"""Next token: which token follows, at every position; the score is the mean loss of a token, and falls.

A batch is `{"tokens": int32 [n, context + 1]}`. A network takes the first `context` tokens [n, context] and gives
logits [n, context, vocabulary]: those at a position are for the token behind it.
"""

from collections.abc import Callable
from functools import cache
from math import log

import jax.numpy as jnp
from jax import Array

from synevo.tasks.classification import weighed_cross_entropy
from synevo.tasks.task import Batch, Outputs, Task

SCORES = ("nats", "bits", "perplexity")
"""The scores to choose from: nats or bits a token, or the perplexity, which is e to the power of the nats."""

_OVERALL: dict[str, Callable[[Array], Array]] = {
    "nats": jnp.asarray,
    "bits": lambda mean: jnp.asarray(mean / log(2)),
    "perplexity": jnp.exp,
}


@cache
def next_token(*, score: str = "nats", smoothing: float = 0.0) -> Task:
    """Return the task of the next token; `smoothing` is the share of a token that the loss spreads over all tokens."""

    def loss(logits: Outputs, batch: Batch, *, smoothing: float = smoothing) -> Array:
        wanted = batch["tokens"][:, 1:].astype(jnp.int32)
        return weighed_cross_entropy(logits, wanted, weights=None, smoothing=smoothing).mean(axis=1)

    return Task(
        inputs=lambda batch: (batch["tokens"][:, :-1].astype(jnp.int32),),
        loss=loss,
        score=lambda logits, batch: loss(logits, batch, smoothing=0.0),
        overall=_OVERALL[score],
        name=score if score == "perplexity" else f"{score} a token",
        better="lower",
    )
