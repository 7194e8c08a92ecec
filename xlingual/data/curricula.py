"""Named curricula: each returns the stages of a run, for `StagedSource`.

Mixtures are registered names, or names -> shares in tokens. `steps` is the length of the run; a
last stage has no end, so that a run may go on.
"""

from collections.abc import Mapping

from xlingual.data.mixing_rates import Sizes, Temperature
from xlingual.data.staged import Stage
from xlingual.errors import ConfigError

Mixture = str | Mapping[str, float]


def dot(
    *,
    denoising: Mixture,
    translation: Mixture,
    steps: int,
    rho: float = 1 / 3,
    both_directions: Mixture | None = None,
    both_rho: float = 1 / 3,
) -> tuple[Stage, ...]:
    """Returns denoising both sides of the pairs, then translating them (DoT, BiT).

    Args:
      denoising: `dot_denoise` on the sides of the pairs.
      translation: the directions that are wanted.
      steps: updates of the run.
      rho: part of the run that is denoising.
      both_directions: for a stage of BiT between the two: `bit`; None for none.
      both_rho: part of the run that this stage takes.

    References:
      Ding, Peng & Tao, 2022, arXiv:2201.07365; Ding, Wu & Tao, 2021, EMNLP.

    Raises:
      ConfigError: parts out of range.
    """
    parts = [(denoising, rho)]
    if both_directions is not None:
        parts.append((both_directions, both_rho))
    return _in_turn([*parts, (translation, None)], steps)


def mono_then_parallel(
    *, mono: Mixture, parallel: Mixture, steps: int, rho: float = 0.5
) -> tuple[Stage, ...]:
    """Returns monolingual objectives for a part `rho` of the run, then parallel text."""
    return _in_turn([(mono, rho), (parallel, None)], steps)


def parallel_first(
    *, parallel: Mixture, mono: Mixture, steps: int, rho: float = 0.1
) -> tuple[Stage, ...]:
    """Returns an early alignment on parallel text for a part `rho` of the run, then the rest."""
    return _in_turn([(parallel, rho), (mono, None)], steps)


def balanced_then_english(
    *, balanced: Mixture, english: Mixture, steps: int, rho: float = 0.75
) -> tuple[Stage, ...]:
    """Returns a balanced multilingual stage, then one enriched with high-quality English.

    References:
      Gamayun's Path to Multilingual Mastery, 2025: two stages; the boundary is a choice of ours.
    """
    return _in_turn([(balanced, rho), (english, None)], steps)


def prealign(
    *, alignment: Mixture, switched: Mixture, steps: int, rho: float = 0.05
) -> tuple[Stage, ...]:
    """Returns an alignment stage, then language modelling with input-only code-switching.

    Args:
      alignment: what aligns words before pre-training.
      switched: `cs_input_only`.
      steps: updates of the run.
      rho: part of the run that is alignment.

    References:
      Li et al., 2024, PreAlign; the part is a choice of ours.
    """
    return _in_turn([(alignment, rho), (switched, None)], steps)


def anneal_alpha(
    *, sizes: Sizes, steps: int, start: float = 1.0, end: float = 0.3
) -> tuple[Stage, ...]:
    """Returns rates that move linearly over the run from one temperature to another.

    Args:
      sizes: of the tasks.
      steps: updates over which the rates move.
      start: alpha of the first step; 1 is proportional to size.
      end: alpha from `steps` on.

    Raises:
      ConfigError: an alpha out of [0, 1], or no positive number of steps.
    """
    first, last = (Temperature(alpha=alpha, unit=sizes.unit).rates(sizes) for alpha in (start, end))
    return (Stage(mixture=first, end_step=steps, interpolate=True), Stage(mixture=last))


def _in_turn(parts: list[tuple[Mixture, float | None]], steps: int) -> tuple[Stage, ...]:
    """Returns stages that take parts of `steps`; the last takes what is left and has no end."""
    stages, done = [], 0.0
    for mixture, part in parts[:-1]:
        done += part or 0.0
        if not 0.0 < done < 1.0:
            raise ConfigError(f"stages take the part {done:g} of the run; expected it in (0, 1)")
        stages.append(Stage(mixture=mixture, end_step=round(done * steps)))
    return (*stages, Stage(mixture=parts[-1][0]))
