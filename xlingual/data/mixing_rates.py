"""How often each task is drawn: counts in, rates out, plain numbers.

Temperature rates are those of mT5 (Xue et al., 2021, NAACL): scale, then cap, then a power, as in
SeqIO. Shares of objectives are declared in target tokens and turned into rates of examples.
"""

import math
from collections.abc import Mapping

from xlingual.errors import ConfigError


def temperature_rates(
    counts: Mapping[str, float],
    alpha: float = 0.3,
    scale: float = 1.0,
    maximum: float | None = None,
) -> dict[str, float]:
    """Returns probabilities `min(scale * n, maximum) ** alpha`, normalised to sum 1.

    Args:
      counts: leaf -> number of examples of its training split (or another declared unit).
      alpha: 1 is proportional, 0 uniform; 1 / alpha is the temperature.
      scale: factor on counts.
      maximum: cap on scaled counts; None for no cap.

    Raises:
      ConfigError: no leaves, a count of zero or less, or a setting out of range.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ConfigError(f"alpha is {alpha}; expected a number in [0, 1]")
    if scale <= 0.0 or (maximum is not None and maximum <= 0.0):
        raise ConfigError(f"scale={scale} and maximum={maximum}; expected positive numbers")
    _check_positive("counts", counts)
    cap = math.inf if maximum is None else maximum
    return _normalised({leaf: min(scale * n, cap) ** alpha for leaf, n in counts.items()})


def objective_shares(
    shares: Mapping[str, float], leaf_rates: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Returns the share of each leaf: share of its objective x rate within the objective.

    Args:
      shares: objective -> share, in any unit; they are normalised.
      leaf_rates: objective -> leaf (task name) -> rate within the objective; each is normalised.

    Raises:
      ConfigError: objectives of the two mappings differ, one has no leaf, or a leaf occurs twice.
    """
    if set(shares) != set(leaf_rates):
        raise ConfigError(
            f"shares name the objectives {sorted(shares)} but leaf_rates {sorted(leaf_rates)}"
        )
    _check_positive("shares", shares)
    leaves: dict[str, float] = {}
    for objective, share in _normalised(shares).items():
        _check_positive(f"leaf_rates[{objective!r}]", leaf_rates[objective])
        for leaf, rate in _normalised(leaf_rates[objective]).items():
            if leaf in leaves:
                raise ConfigError(f"leaf {leaf!r} belongs to two objectives; expected one")
            leaves[leaf] = share * rate
    return leaves


def token_rates(
    rates: Mapping[str, float], mean_target_tokens: Mapping[str, float]
) -> dict[str, float]:
    """Returns rates of examples that give each leaf its declared share of target tokens.

    Packing does not change them: they count examples before packing.

    Args:
      rates: leaf -> share of weighted target tokens.
      mean_target_tokens: leaf -> mean weighted target tokens of its examples.

    Raises:
      ConfigError: a leaf without a mean, or one that is not positive (a leaf without data).
    """
    missing = sorted(set(rates) - set(mean_target_tokens))
    if missing:
        raise ConfigError(f"mean_target_tokens lacks the leaves {missing}")
    _check_positive("rates", rates)
    means = {leaf: mean_target_tokens[leaf] for leaf in rates}
    _check_positive("mean_target_tokens", means)
    return _normalised({leaf: rate / means[leaf] for leaf, rate in rates.items()})


def _normalised(values: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(values.values())
    return {name: value / total for name, value in values.items()}


def _check_positive(name: str, values: Mapping[str, float]) -> None:
    if not values:
        raise ConfigError(f"{name} is empty; expected at least one entry")
    for key, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name}[{key!r}] is {value}; expected a positive number")
