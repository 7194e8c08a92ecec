"""Sampling with temperature, top-k and top-p; each row has random numbers of its own.

The key of a token is a function of the seed, the number of the example, the number of the sample
and the step, so what is drawn for an example does not depend on the batch that it stands in.

References:
  Fan et al., 2018, "Hierarchical Neural Story Generation", arXiv:1805.04833, section 5.3 (top-k);
  Holtzman et al., 2020, "The Curious Case of Neural Text Degeneration", arXiv:1904.09751,
  section 3.1 (top-p).
"""

import jax
import jax.numpy as jnp

from xlingual.decoding.constraints import Constraint
from xlingual.decoding.token_loop import Choose, Rule, write_tokens
from xlingual.models.base import Model
from xlingual.types import Array, Batch, PRNGKey, PyTree


def sample_decode(
    model: Model,
    params: PyTree,
    batch: Batch,
    *,
    seed: Array | int,
    examples: Array,
    max_length: int,
    eos_id: int = 1,
    num_samples: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    constraint: Constraint | None = None,
) -> Array:
    """Returns random continuations of each source or prompt.

    Traceable under `jax.jit` with all but `params`, `batch`, `seed`, `examples` and `constraint`
    static.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: decoding features of the model's family.
      seed: of all random numbers.
      examples: [batch] int32, number of each example; equal numbers draw equal numbers.
      max_length: tokens to write at most, at least 1.
      eos_id: id that ends a row.
      num_samples: independent continuations of each row.
      temperature: see `warp_logits`.
      top_k: see `warp_logits`.
      top_p: see `warp_logits`.
      constraint: what rows may write, or None; it applies before top-k and top-p.

    Returns:
      [batch, num_samples, max_length] int32: EOS included when reached, PAD after it.

    Raises:
      ValueError: a setting is out of range.
    """
    rule = Rule(
        choose=make_choose(temperature=temperature, top_k=top_k, top_p=top_p),
        max_length=max_length,
        eos_id=eos_id,
        copies=num_samples,
    )
    keys = row_keys(seed, jnp.asarray(examples), num_samples)
    tokens = write_tokens(model, params, batch, rule, keys=keys, constraint=constraint)
    return tokens.reshape(-1, num_samples, max_length)


def make_choose(*, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Choose:
    """Returns what draws a token for each row from the distribution of `warp_logits`.

    Raises:
      ValueError: a setting is out of range.
    """
    check_warp(temperature=temperature, top_k=top_k, top_p=top_p)

    def choose(logits: Array, keys: PRNGKey | None, written: Array) -> Array:
        if keys is None:
            raise ValueError("samples need a key for each row; found none")
        warped = warp_logits(logits, temperature=temperature, top_k=top_k, top_p=top_p)
        now = jax.vmap(jax.random.fold_in)(keys, written)
        return jax.vmap(jax.random.categorical)(now, warped).astype(jnp.int32)

    return choose


def warp_logits(
    logits: Array, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Array:
    """Returns the logits of the distribution that is sampled from.

    First all are divided by the temperature, then all below the k-th largest are removed, then
    the least probable whose probabilities add up to at most 1 - p; the most probable stays. Tokens
    whose logits are equal to the last one kept are kept too.

    Args:
      logits: [rows, vocab] float32; -inf is never sampled.
      temperature: above 0; below 1 sharpens.
      top_k: tokens to keep; 0 keeps all.
      top_p: probability to keep, in (0, 1]; 1 keeps all.

    Returns:
      [rows, vocab] float32, -inf for what is removed.

    Raises:
      ValueError: a setting is out of range.
    """
    check_warp(temperature=temperature, top_k=top_k, top_p=top_p)
    if temperature != 1.0:
        logits = logits / temperature
    limited = 0 < top_k < logits.shape[-1]
    if not limited and top_p == 1.0:
        return logits
    if limited:
        best = jax.lax.top_k(logits, top_k)[0]
    else:
        best = -jnp.sort(-logits, axis=-1)
    threshold = best[:, -1:] if limited else jnp.full_like(best[:, -1:], -jnp.inf)
    if top_p < 1.0:
        # Summed from the smallest on, as removing them is what the definition says.
        rising = best[:, ::-1]
        removed = jnp.cumsum(jax.nn.softmax(rising, axis=-1), axis=-1) <= 1.0 - top_p
        removed = removed.at[:, -1].set(False)
        kept = jnp.where(removed, jnp.inf, rising)
        threshold = jnp.maximum(threshold, jnp.min(kept, axis=-1, keepdims=True))
    return jnp.where(logits < threshold, -jnp.inf, logits)


def row_keys(seed: Array | int, examples: Array, num_samples: int = 1) -> PRNGKey:
    """Returns the keys of every sample, [batch * num_samples], samples of a row together.

    Args:
      seed: of all random numbers.
      examples: [batch] int32, number of each example.
      num_samples: samples of each.
    """
    root = jax.random.key(seed)
    samples = jnp.arange(num_samples, dtype=jnp.int32)
    fold = jax.random.fold_in
    grid = jax.vmap(lambda e: jax.vmap(lambda s: fold(fold(root, e), s))(samples))(examples)
    return grid.reshape(-1)


def check_warp(*, temperature: float, top_k: int, top_p: float) -> None:
    """Checks the settings of a distribution.

    Raises:
      ValueError: temperature is not positive, top_k is negative or top_p is outside (0, 1].
    """
    if not temperature > 0.0:
        raise ValueError(f"temperature={temperature}; expected more than 0")
    if top_k < 0:
        raise ValueError(f"top_k={top_k}; expected at least 0, where 0 keeps all")
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p={top_p}; expected a value in (0, 1]")
