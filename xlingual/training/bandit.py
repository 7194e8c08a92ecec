"""Rules that learn from rewards how often to train on each of a few arms.

`Fair` samples arms in proportion to a moving average of their rewards (Schioppa, Garcia & Firat,
2023, arXiv:2305.11778); `Exp3S` is the classical adversarial bandit (Auer et al., 2002, SIAM J.
Comput. 32(1), section 8; as used by Graves et al., 2017, ICML), for comparison. A rule is a value;
its state is a list of numbers, so that a checkpoint holds it and all hosts compute the same.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from xlingual.errors import ConfigError

LEAST_AVERAGE = 1e-6
MIN_REWARDS = 20
"""Before so many raw rewards every scaled reward is the middle of its range."""


class Rule(Protocol):
    """How rewards become probabilities."""

    @property
    def reward_range(self) -> tuple[float, float]:
        """Range to which rewards are scaled."""

    def start(self, num_arms: int) -> list[float]:
        """Returns the state before any reward, one number an arm."""

    def probabilities(self, state: Sequence[float]) -> np.ndarray:
        """Returns how likely each arm is: [arms] float64, summing to one."""

    def update(
        self, state: Sequence[float], arm: int, reward: float, num_rewards: int
    ) -> list[float]:
        """Returns the state after a reward.

        Args:
          state: before.
          arm: which arm was drawn.
          reward: in `reward_range`.
          num_rewards: rewards so far, this one included.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fair:
    """Arms in proportion to moving averages of their rewards in [0, 1].

    `p_k = (1 - floor) m_k / sum(m) + floor / K`, and `m_k <- decay m_k + (1 - decay) r` for the
    drawn arm, from `m = 1`. The constants are choices of ours: the paper gives none.

    Attributes:
      decay: of the averages, in [0, 1).
      floor: part of the draws that is spread evenly, in (0, 1].

    Raises:
      ConfigError: a constant out of range.
    """

    decay: float = 0.9
    floor: float = 0.1
    reward_range: tuple[float, float] = dataclasses.field(default=(0.0, 1.0), init=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay < 1.0:
            raise ConfigError(f"decay is {self.decay}; expected a number in [0, 1)")
        _check_floor(self.floor)

    def start(self, num_arms: int) -> list[float]:
        """Returns averages of one; see `Rule`."""
        return [1.0] * num_arms

    def probabilities(self, state: Sequence[float]) -> np.ndarray:
        """Returns how likely each arm is; see `Rule`.

        >>> Fair().probabilities([0.47, 0.5]).round(4)
        array([0.4861, 0.5139])
        """
        averages = np.maximum(np.asarray(state, np.float64), LEAST_AVERAGE)
        return (1 - self.floor) * averages / averages.sum() + self.floor / len(averages)

    def update(
        self, state: Sequence[float], arm: int, reward: float, num_rewards: int
    ) -> list[float]:
        """Returns the averages after a reward; see `Rule`."""
        del num_rewards
        changed = list(state)
        changed[arm] = self.decay * changed[arm] + (1 - self.decay) * reward
        return changed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exp3S:
    """Exponential weights with importance-weighted rewards in [-1, 1] and sharing between arms.

    `p = (1 - floor) softmax(w) + floor / K`; with `rhat_k = r / p_k` for the drawn arm, else 0, and
    `a_t = 1 / t`: `w_k = log((1 - a_t) e^(w_k + rate rhat_k) + a_t / (K - 1) sum over the others)`.

    Attributes:
      rate: step size of the weights, above 0.
      floor: part of the draws that is spread evenly, in (0, 1].

    Raises:
      ConfigError: a constant out of range.
    """

    rate: float = 1e-3
    floor: float = 0.05
    reward_range: tuple[float, float] = dataclasses.field(default=(-1.0, 1.0), init=False)

    def __post_init__(self) -> None:
        if not self.rate > 0.0:
            raise ConfigError(f"rate is {self.rate}; expected a positive number")
        _check_floor(self.floor)

    def start(self, num_arms: int) -> list[float]:
        """Returns weights of zero; see `Rule`."""
        return [0.0] * num_arms

    def probabilities(self, state: Sequence[float]) -> np.ndarray:
        """Returns how likely each arm is; see `Rule`."""
        weights = np.asarray(state, np.float64)
        powers = np.exp(weights - weights.max())
        return (1 - self.floor) * powers / powers.sum() + self.floor / len(powers)

    def update(
        self, state: Sequence[float], arm: int, reward: float, num_rewards: int
    ) -> list[float]:
        """Returns the weights after a reward; see `Rule`."""
        weights = np.asarray(state, np.float64)
        moved = weights.copy()
        moved[arm] += self.rate * reward / self.probabilities(state)[arm]
        top = moved.max()
        powers = np.exp(moved - top)
        # With a_1 = 1 the first reward would only be shared out among the other arms.
        shared = 1.0 / (num_rewards + 1)
        others = (powers.sum() - powers) / (len(powers) - 1)
        mixed = top + np.log((1 - shared) * powers + shared * others)
        return [float(weight) for weight in mixed]


def scale_reward(raw: float, recent: Sequence[float], reward_range: tuple[float, float]) -> float:
    """Returns `raw` between the 20th and 80th percentile of recent rewards, as part of a range.

    Args:
      raw: relative fall of the loss.
      recent: the last raw rewards of all arms, this one included.
      reward_range: what the percentiles become; beyond them rewards are cut.

    Returns:
      The middle of the range while fewer than 20 rewards are known or the percentiles are equal.
    """
    low, high = reward_range
    if len(recent) < MIN_REWARDS:
        return (low + high) / 2
    bottom, top = np.quantile(np.asarray(recent, np.float64), [0.2, 0.8])
    if not top > bottom:
        return (low + high) / 2
    part = min(max((raw - bottom) / (top - bottom), 0.0), 1.0)
    return float(low + part * (high - low))


def draw(probabilities: np.ndarray, seed: int, step: int) -> int:
    """Returns an arm drawn from `probabilities`, a function of (seed, step).

    Args:
      probabilities: [arms] float64.
      seed: of the run.
      step: number of the update.
    """
    place = np.random.default_rng([seed, step]).random()
    arm = int(np.searchsorted(np.cumsum(probabilities), place, side="right"))
    return min(arm, len(probabilities) - 1)


def relative_fall(before: float, after: float) -> float:
    """Returns by what part a loss fell; 0 if a loss is not finite."""
    fall = (before - after) / max(before, 1e-6)
    return fall if math.isfinite(fall) else 0.0


def _check_floor(floor: float) -> None:
    if not 0.0 < floor <= 1.0:
        raise ConfigError(f"floor is {floor}; expected a number in (0, 1]")
