"""Rotary position embeddings: queries and keys are turned by angles that grow with the position.

The score of a query and a key then depends on their distance alone, so positions may be counted
from any origin: offsets in an array serve packed examples as well.

References:
  Su et al., 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding",
  arXiv:2104.09864, section 3.2, with the halves of a head in place of neighbouring pairs;
  Chen et al., 2023, "Extending Context Window of Large Language Models via Positional
  Interpolation", arXiv:2306.15595 (`linear`); Grattafiori et al., 2024, "The Llama 3 Herd of
  Models", arXiv:2407.21783, with the frequencies of its release 3.1 (`llama3`).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from xlingual.errors import ConfigError
from xlingual.types import Array

KINDS = ("linear", "llama3")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How the frequencies of a model are slowed down to reach beyond its first context length.

    Attributes:
      kind: `linear` divides every frequency by `factor`; `llama3` divides those whose wavelength
        is long, leaves those whose wavelength is short, and interpolates between.
      factor: what slow frequencies are divided by, >= 1.
      low_freq_factor: `llama3`: wavelengths above `original_max_length / low_freq_factor` are long.
      high_freq_factor: `llama3`: wavelengths below `original_max_length / high_freq_factor` are
        short; above `low_freq_factor`.
      original_max_length: `llama3`: tokens of the first context length.

    Raises:
      ConfigError: an unknown kind or a number out of range.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_length: int = 8192

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind={self.kind!r}; expected one of {', '.join(KINDS)}")
        if self.factor < 1:
            raise ConfigError(f"factor={self.factor}; expected at least 1")
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ConfigError(
                f"low_freq_factor={self.low_freq_factor}, high_freq_factor="
                f"{self.high_freq_factor}; expected 0 < low < high"
            )
        if self.original_max_length < 1:
            raise ConfigError(
                f"original_max_length={self.original_max_length}; expected at least 1"
            )


def rotary_frequencies(d_kv: int, theta: float, scaling: RopeScaling | None = None) -> np.ndarray:
    """Returns the angle by which each pair of dimensions turns from one position to the next.

    Args:
      d_kv: size of a head, even.
      theta: base; the slowest pair turns by about 1 / theta.
      scaling: how frequencies are slowed down; None for not at all.

    Returns:
      [d_kv / 2] float32, in radians, fastest first.
    """
    frequencies = 1.0 / theta ** (np.arange(0, d_kv, 2, dtype=np.float64) / d_kv)
    if scaling is None:
        return frequencies.astype(np.float32)
    slowed = frequencies / scaling.factor
    if scaling.kind == "linear":
        return slowed.astype(np.float32)
    wavelengths = 2 * np.pi / frequencies
    periods = scaling.original_max_length / wavelengths
    span = scaling.high_freq_factor - scaling.low_freq_factor
    kept = np.clip((periods - scaling.low_freq_factor) / span, 0.0, 1.0)
    return (kept * frequencies + (1 - kept) * slowed).astype(np.float32)


def rotate(x: Array, positions: Array | np.ndarray, frequencies: np.ndarray) -> Array:
    """Returns queries or keys turned by their positions; lengths stay.

    Args:
      x: [batch, length, heads, d_kv] float32 or bfloat16.
      positions: [batch or 1, length] int32.
      frequencies: [d_kv / 2] float32, from `rotary_frequencies`.

    Returns:
      Same shape and dtype as `x`; computed in float32.
    """
    angles = jnp.asarray(positions, jnp.float32)[:, :, None, None] * frequencies[None, None, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
