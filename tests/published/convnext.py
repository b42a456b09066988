"""ConvNeXt-T (Liu et al., arXiv 2201.03545): depthwise 7 x 7 convolutions, layer normalisation, layer scale."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array


class Block(nnx.Module):
    def __init__(self, width: int, drop_path: float, *, rngs: nnx.Rngs) -> None:
        self.depthwise = nnx.Conv(width, width, (7, 7), padding=3, feature_group_count=width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.pointwise1 = nnx.Linear(width, 4 * width, rngs=rngs)
        self.pointwise2 = nnx.Linear(4 * width, width, rngs=rngs)
        self.gamma = nnx.Param(1e-6 * jnp.ones((width,)))
        self.drop_path = nnx.Dropout(drop_path, broadcast_dims=(1, 2, 3), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        y = self.norm(self.depthwise(x))
        y = self.pointwise2(nnx.gelu(self.pointwise1(y)))
        return x + self.drop_path(self.gamma * y)


class ConvNeXt(nnx.Module):
    def __init__(
        self,
        classes: int = 1000,
        depths: Sequence[int] = (3, 3, 9, 3),
        widths: Sequence[int] = (96, 192, 384, 768),
        drop_path: float = 0.1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.stem = nnx.Sequential(
            nnx.Conv(3, widths[0], (4, 4), strides=(4, 4), padding="VALID", rngs=rngs),
            nnx.LayerNorm(widths[0], epsilon=1e-6, rngs=rngs),
        )
        rates = iter(np.linspace(0, drop_path, sum(depths)).tolist())
        stages: list[nnx.Module] = []
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if stage > 0:
                before = widths[stage - 1]
                stages += [
                    nnx.LayerNorm(before, epsilon=1e-6, rngs=rngs),
                    nnx.Conv(before, width, (2, 2), strides=(2, 2), padding="VALID", rngs=rngs),
                ]
            stages += [Block(width, next(rates), rngs=rngs) for _ in range(depth)]
        self.stages = nnx.Sequential(*stages)
        self.norm = nnx.LayerNorm(widths[-1], epsilon=1e-6, rngs=rngs)
        self.head = nnx.Linear(widths[-1], classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stages(self.stem(x))
        return self.head(self.norm(jnp.mean(x, axis=(1, 2))))
