"""Learning-rate schedules: number of updates done -> learning rate.

References:
  Raffel et al. (2020), JMLR 21(140), section 3.1.2 (inverse square root). Loshchilov & Hutter
  (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts", arXiv:1608.03983 (cosine).
"""

from collections.abc import Callable

import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.types import Array

Schedule = Callable[[Array], Array]
"""step ([] int32, updates done, 0 for the first) -> learning rate ([] float32)."""


def constant(value: float) -> Schedule:
    """Returns the schedule that is always `value`.

    Args:
      value: learning rate, > 0.

    Raises:
      ConfigError: `value` is not positive.
    """
    _check_positive(value=value)
    return lambda step: jnp.full(jnp.shape(step), value, jnp.float32)


def inverse_square_root(factor: float = 1.0, flat_steps: int = 10_000) -> Schedule:
    """Returns `factor / sqrt(max(step, flat_steps))`: flat at first, with no ramp, no final decay.

    With the defaults it is the schedule of T5 and mT5: 0.01 for 10,000 steps, 0.005 at 40,000.

    Args:
      factor: > 0; for an optimizer that scales steps by the size of the parameter, 1.
      flat_steps: steps at the first value, >= 1.

    Raises:
      ConfigError: an argument is out of range.
    """
    _check_positive(factor=factor, flat_steps=flat_steps)

    def schedule(step: Array) -> Array:
        return jnp.float32(factor) / jnp.sqrt(jnp.maximum(step, flat_steps).astype(jnp.float32))

    return schedule


def linear_warmup_cosine(
    peak: float, warmup_steps: int, total_steps: int, final: float = 0.0
) -> Schedule:
    """Returns a linear rise from 0 to `peak`, then half a cosine down to `final`.

    Args:
      peak: the largest learning rate, > 0, reached at step `warmup_steps`.
      warmup_steps: >= 0.
      total_steps: step at which `final` is reached, > `warmup_steps`; it stays there.
      final: last learning rate, in [0, peak].

    Raises:
      ConfigError: an argument is out of range.
    """
    _check_warmup(peak, warmup_steps, total_steps, final)

    def schedule(step: Array) -> Array:
        rise, fall = _progress(step, warmup_steps, total_steps)
        return rise * (final + (peak - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * fall)))

    return schedule


def linear_warmup_linear(
    peak: float, warmup_steps: int, total_steps: int, final: float = 0.0
) -> Schedule:
    """Returns a linear rise from 0 to `peak`, then a straight line down to `final`.

    Args:
      peak: the largest learning rate, > 0, reached at step `warmup_steps`.
      warmup_steps: >= 0.
      total_steps: step at which `final` is reached, > `warmup_steps`; it stays there.
      final: last learning rate, in [0, peak].

    Raises:
      ConfigError: an argument is out of range.
    """
    _check_warmup(peak, warmup_steps, total_steps, final)

    def schedule(step: Array) -> Array:
        rise, fall = _progress(step, warmup_steps, total_steps)
        return rise * (peak + (final - peak) * fall)

    return schedule


def with_warmup(schedule: Schedule, warmup_steps: int) -> Schedule:
    """Returns a linear rise from 0 to the first value of `schedule`, then `schedule` itself.

    For continued training: weights that are good already meet a large learning rate slowly.

    Args:
      schedule: what follows; its step 0 is step `warmup_steps` of the result.
      warmup_steps: >= 0.

    References:
      Gupta et al. (2023), "Continual Pre-Training of Large Language Models: How to (re)warm your
      model?", arXiv:2308.04014.

    Raises:
      ConfigError: `warmup_steps` is negative.
    """
    if warmup_steps < 0:
        raise ConfigError(f"warmup_steps={warmup_steps}; expected 0 or more")

    def warmed_up(step: Array) -> Array:
        after = jnp.maximum(jnp.asarray(step) - warmup_steps, 0)
        now = jnp.asarray(step).astype(jnp.float32)
        rise = jnp.minimum(now / warmup_steps, 1.0) if warmup_steps else jnp.ones_like(now)
        return rise * schedule(after)

    return warmed_up


def _progress(step: Array, warmup_steps: int, total_steps: int) -> tuple[Array, Array]:
    """Returns how far the rise and the fall have come, both [] float32 in [0, 1]."""
    now = jnp.asarray(step).astype(jnp.float32)
    rise = jnp.minimum(now / warmup_steps, 1.0) if warmup_steps else jnp.ones_like(now)
    fall = jnp.clip((now - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
    return rise, fall


def _check_warmup(peak: float, warmup_steps: int, total_steps: int, final: float) -> None:
    _check_positive(peak=peak)
    if not 0 <= warmup_steps < total_steps:
        raise ConfigError(
            f"warmup_steps={warmup_steps} and total_steps={total_steps}; expected "
            f"0 <= warmup_steps < total_steps"
        )
    if not 0 <= final <= peak:
        raise ConfigError(f"final={final}; expected one in [0, peak={peak}]")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{name}={value}; expected a positive number")
