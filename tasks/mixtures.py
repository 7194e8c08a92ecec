"""Mixtures written in gin: objectives with their shares, languages by a rule from their sizes.

REGISTRATIONS = (@mixtures.register_objectives(),)
mixtures.register_objectives:
name = 'my_mixture'
shares = {'span_corruption': 0.6, 'translation': 0.4}
tasks = {'span_corruption': ['sc_en', 'sc_sw'], 'translation': ['mt_sw_en', 'mt_en_sw']}
sampling = @mixing_rates.Temperature()
"""

from collections.abc import Mapping, Sequence

from xlingual.data import mixing_rates, sizes, task_registry


def register_objectives(
    *,
    name: str,
    shares: Mapping[str, float],
    tasks: Mapping[str, Sequence[str]],
    sampling: mixing_rates.Sampling | None = None,
    task_sizes: Mapping[str, float] | None = None,
    share_unit: task_registry.ShareUnit = "tokens",
    split: str = "train",
    description: str = "",
    row_shapes: Mapping[str, Mapping[str, int]] | None = None,
) -> str:
    """Registers a mixture of objectives; returns its name.

    The share of a task is the share of its objective times its rate among the objective's tasks.

    Args:
      name: of the mixture.
      shares: objective -> share; they need not sum to one.
      tasks: objective -> its registered tasks, one a language or direction.
      sampling: from sizes to rates within an objective; None for equal rates.
      task_sizes: task -> size in the unit of `sampling`; None measures records.
      share_unit: what shares count: `tokens` (weighted targets) or `examples`.
      split: whose records are measured.
      description: one sentence.
      row_shapes: objective -> lengths of `inputs` and `targets` of its rows in a packed cache.

    Raises:
      ConfigError: names or sizes are missing, or a share is not positive.
    """

    def rates(names: Sequence[str]) -> dict[str, float]:
        if sampling is None:
            return dict.fromkeys(names, 1.0)
        if task_sizes is None:
            return sampling.rates(sizes.measure_sizes(names, sampling.unit, split))
        counts = {task: task_sizes.get(task, 0.0) for task in names}
        return sampling.rates(mixing_rates.Sizes(counts=counts, unit=sampling.unit))

    leaves = mixing_rates.objective_shares(
        shares, {objective: rates(names) for objective, names in tasks.items()}
    )
    task_registry.register_mixture(
        name,
        leaves,
        share_unit=share_unit,
        description=description or _describe(shares),
        row_shapes=row_shapes,
    )
    return name


def _describe(shares: Mapping[str, float]) -> str:
    total = sum(shares.values())
    return ", ".join(f"{objective} {share / total:.0%}" for objective, share in shares.items())
