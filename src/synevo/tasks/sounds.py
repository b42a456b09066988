"""Classification of sounds: recordings of one length with one class each, as a log-mel spectrogram.

A batch is `{"sound": int16 [n, samples], "label": int32 [n]}`. A network takes [n, frames, bands, 1], the logarithm of
the power in each mel band of each window, standardised a band. It is computed in the step that uses it, by these
equations alone:

    mel(f) = 2595 · log10(1 + f / 700)                          (O'Shaughnessy 1987; as in HTK)
    power  = |DFT(hann · window)|²                               of samples scaled to -1 … 1
    band b = log(10^-6 + Σ_f triangle_b(f) · power(f))           triangles of height 1, evenly apart in mel
"""

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.tasks.classification import Numbers, of_classes
from synevo.tasks.regression import Standard, prepared
from synevo.tasks.task import Task

FAINTEST = 1e-6
"""The power that is added to each band before its logarithm is taken."""

LOUDEST = 32768
"""The int16 level that is 1."""


@dataclass(frozen=True)
class LogMel:
    """A log-mel spectrogram: samples a second, of a window, and from one window to the next; the number of bands."""

    rate: int
    window: int
    hop: int
    bands: int

    def frames(self, samples: int) -> int:
        """Return the number of whole windows in so many samples."""
        return 1 + (samples - self.window) // self.hop if samples >= self.window else 0

    def triangles(self) -> NDArray[np.float32]:
        """Return the share of each frequency of the DFT in each band: [window // 2 + 1, bands]."""
        edges = _hertz(np.linspace(_mel(0.0), _mel(self.rate / 2), self.bands + 2))
        frequencies = np.linspace(0, self.rate / 2, self.window // 2 + 1)[:, None]
        low, middle, high = edges[:-2], edges[1:-1], edges[2:]
        rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
        return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)

    @partial(jax.jit, static_argnums=0)
    def of(self, sounds: Array) -> Array:
        """Return the spectrogram [n, frames, bands] of int16 sounds [n, samples]."""
        starts = self.hop * np.arange(self.frames(sounds.shape[1]))
        samples = sounds.astype(jnp.float32) / LOUDEST
        windows = samples[:, starts[:, None] + np.arange(self.window)]
        hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)).astype(np.float32)
        power = jnp.square(jnp.abs(jnp.fft.rfft(windows * hann.reshape(1, 1, -1))))
        return jnp.log(FAINTEST + power @ self.triangles())


@cache
def sounds(spectrogram: LogMel, standard: Standard, *, weights: Numbers | None = None, smoothing: float = 0.0) -> Task:
    """Return the task of classifying sounds by a spectrogram with this standard of its bands (see `of_classes`)."""
    return of_classes(
        lambda batch: (standard.of(spectrogram.of(batch["sound"]))[..., None],), weights=weights, smoothing=smoothing
    )


@cache
def series(standard: Standard | None, *, weights: Numbers | None = None, smoothing: float = 0.0) -> Task:
    """Return the task of classifying arrays `input` [n, …], perhaps standardised along their last axis."""
    return of_classes(lambda batch: (prepared(batch["input"], standard),), weights=weights, smoothing=smoothing)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    hertz: NDArray[np.float64] = 700 * (10 ** (mel / 2595) - 1)
    return hertz
