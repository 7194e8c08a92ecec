"""How often each task is drawn: sizes in, rates out, plain numbers.

Temperature rates are those of mT5 (Xue et al., 2021, NAACL): scale, then cap, then a power, as in
SeqIO. UniMax rates are those of Chung et al. (2023, ICLR): near-uniform, with a cap on the passes
over small corpora. Shares of objectives are declared in target tokens and turned into rates of
examples.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, Protocol, get_args

from xlingual.errors import ConfigError

SizeUnit = Literal["documents", "sentences", "characters", "tokens"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the leaves of a mixture are, in a unit that is said.

    Attributes:
      counts: leaf (task name) -> size of its training split, above 0.
      unit: what is counted: rates by documents and rates by characters differ.

    Raises:
      ConfigError: no leaves, a size that is not positive, or an unknown unit.
    """

    counts: Mapping[str, float]
    unit: SizeUnit

    def __post_init__(self) -> None:
        if self.unit not in get_args(SizeUnit):
            raise ConfigError(
                f"unit of sizes is {self.unit!r}; expected one of {', '.join(get_args(SizeUnit))}"
            )
        _check_positive("counts", self.counts)


class Sampling(Protocol):
    """A rule from sizes to rates."""

    @property
    def unit(self) -> SizeUnit:
        """The unit of the sizes that it takes."""

    def rates(self, sizes: Sizes) -> dict[str, float]:
        """Returns leaf -> rate, summing to one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Temperature:
    """Rates `min(scale * n, maximum) ** alpha`, normalised.

    Attributes:
      alpha: 1 is proportional, 0 uniform; 1 / alpha is the temperature.
      unit: of the sizes n; mT5 counts documents.
      scale: factor on sizes.
      maximum: cap on scaled sizes; None for no cap.

    Raises:
      ConfigError: a setting out of range.
    """

    alpha: float = 0.3
    unit: SizeUnit = "documents"
    scale: float = 1.0
    maximum: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"alpha is {self.alpha}; expected a number in [0, 1]")
        if self.scale <= 0.0 or (self.maximum is not None and self.maximum <= 0.0):
            raise ConfigError(
                f"scale={self.scale} and maximum={self.maximum}; expected positive numbers"
            )

    def rates(self, sizes: Sizes) -> dict[str, float]:
        """Returns leaf -> rate; see `Sampling`.

        Raises:
          ConfigError: sizes are in another unit.
        """
        _check_unit(sizes, self.unit, "temperature rates")
        cap = math.inf if self.maximum is None else self.maximum
        return _normalised(
            {leaf: min(self.scale * n, cap) ** self.alpha for leaf, n in sizes.counts.items()}
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniMax:
    """Rates of the UniMax rule: every leaf gets as many characters, up to its cap of passes.

    Leaves are visited from the smallest: each gets an equal part of the budget that is left, or
    `max_epochs` passes over its text if that is less. Rates are shares of characters.

    Attributes:
      budget: characters that the whole run reads.
      max_epochs: most passes over a leaf; 1, 2 and 4 are sensible.
      unit: always characters.

    References:
      Chung et al., 2023, UniMax, ICLR, algorithm 1.

    Raises:
      ConfigError: a setting out of range.
    """

    budget: float
    max_epochs: float = 1.0
    unit: SizeUnit = "characters"

    def __post_init__(self) -> None:
        if not (self.budget > 0 and self.max_epochs > 0):
            raise ConfigError(
                f"budget={self.budget} and max_epochs={self.max_epochs}; expected positive numbers"
            )
        if self.unit != "characters":
            raise ConfigError(f"unit is {self.unit!r}; UniMax counts characters")

    def allocations(self, sizes: Sizes) -> dict[str, float]:
        """Returns leaf -> characters that the run reads of it, in the order of `sizes`.

        Raises:
          ConfigError: sizes are in another unit, or the budget is larger than all allowed passes.
        """
        _check_unit(sizes, self.unit, "UniMax rates")
        most = self.max_epochs * math.fsum(sizes.counts.values())
        if self.budget > most:
            raise ConfigError(
                f"budget={self.budget:g} characters exceeds {self.max_epochs:g} passes over all "
                f"text, {most:g}; expected a smaller budget or a larger max_epochs"
            )
        left, found = float(self.budget), {}
        by_size = sorted(sizes.counts, key=lambda leaf: sizes.counts[leaf])
        for index, leaf in enumerate(by_size):
            equal = left / (len(by_size) - index)
            found[leaf] = min(equal, self.max_epochs * sizes.counts[leaf])
            left -= found[leaf]
        return {leaf: found[leaf] for leaf in sizes.counts}

    def rates(self, sizes: Sizes) -> dict[str, float]:
        """Returns leaf -> share of the characters; see `Sampling`.

        Divide by mean characters an example (`example_rates`) for rates of examples.

        Raises:
          ConfigError: see `allocations`.
        """
        return _normalised(self.allocations(sizes))


def language_pair_rates(
    pairs: Mapping[str, tuple[str, str]], language_rates: Mapping[str, float]
) -> dict[str, float]:
    """Returns rates of directions whose two languages are drawn independently of each other.

    Source and target are drawn by `language_rates` until there is data for the pair. The other
    usual rule, rates by the number of pairs to the power .3, is `Temperature` on the sizes of the
    directions.

    Args:
      pairs: leaf (task name) -> its source and target language, different ones.
      language_rates: language -> rate, e.g. of `Temperature` on monolingual sizes.

    Raises:
      ConfigError: no pairs, a language without a rate, or a rate that is not positive.
    """
    missing = sorted({lang for pair in pairs.values() for lang in pair} - set(language_rates))
    if missing:
        raise ConfigError(f"language_rates lacks the languages {missing}")
    _check_positive("language_rates", language_rates)
    rates = {
        leaf: language_rates[source] * language_rates[target]
        for leaf, (source, target) in pairs.items()
    }
    _check_positive("pairs", rates)
    return _normalised(rates)


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


def example_rates(shares: Mapping[str, float], mean_sizes: Mapping[str, float]) -> dict[str, float]:
    """Returns rates of examples that give each leaf its declared share of tokens or characters.

    Packing does not change them: they count examples before packing.

    Args:
      shares: leaf -> share of weighted target tokens, or of characters.
      mean_sizes: leaf -> mean size of its examples in the same unit.

    Raises:
      ConfigError: a leaf without a mean, or one that is not positive (a leaf without data).
    """
    missing = sorted(set(shares) - set(mean_sizes))
    if missing:
        raise ConfigError(f"mean_sizes lacks the leaves {missing}")
    _check_positive("shares", shares)
    means = {leaf: mean_sizes[leaf] for leaf in shares}
    _check_positive("mean_sizes", means)
    return _normalised({leaf: share / means[leaf] for leaf, share in shares.items()})


def with_replay(
    target: str | Mapping[str, float], replay: str | Mapping[str, float], replay_rate: float
) -> dict[str, float]:
    """Returns the mixture of what is new and a part of what a model was trained on before.

    >>> with_replay("sw", {"en": 3, "de": 1}, 0.2)
    {'sw': 0.8, 'en': 0.15000000000000002, 'de': 0.05}

    Args:
      target: a task or mixture, or names -> shares, of what is to be learned.
      replay: the same, of what is not to be forgotten.
      replay_rate: share of `replay`, in [0, 1); 0 leaves it out.

    Returns:
      Names -> shares, summing to one.

    References:
      Scialom et al. (2022), "Fine-tuned Language Models are Continual Learners", arXiv:2205.12393
      (rehearsal). Ibrahim et al. (2024), "Simple and Scalable Strategies to Continually Pre-train
      Large Language Models", arXiv:2403.08763 (replay with a re-warmed schedule).

    Raises:
      ConfigError: the rate or a share is out of range.
    """
    if isinstance(replay_rate, bool) or not 0 <= replay_rate < 1:
        raise ConfigError(f"replay_rate={replay_rate}; expected a number in [0, 1)")
    shares: dict[str, float] = {}
    parts = (("target", target, 1 - replay_rate), ("replay", replay, replay_rate))
    for argument, mixture, rate in parts:
        leaves = {mixture: 1.0} if isinstance(mixture, str) else mixture
        _check_positive(argument, leaves)
        for name, share in _normalised(leaves).items() if rate else ():
            shares[name] = shares.get(name, 0.0) + rate * share
    return shares


def _check_unit(sizes: Sizes, unit: SizeUnit, user: str) -> None:
    if sizes.unit != unit:
        raise ConfigError(f"sizes are in {sizes.unit}; these {user} expect {unit}")


def _normalised(values: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(values.values())
    return {name: value / total for name, value in values.items()}


def _check_positive(name: str, values: Mapping[str, float]) -> None:
    if not values:
        raise ConfigError(f"{name} is empty; expected at least one entry")
    for key, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name}[{key!r}] is {value}; expected a positive number")
