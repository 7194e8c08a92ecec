"""Translate a source with dropped spans; with a language model, say the source again as well.

Two of the objectives of nmT5 (Kale et al., 2021, ACL), cases of `pair_corruption`. Sides 11 12 13
14 and 21 22, noise on 12 13:

    inputs:  <2yy> 11 S0 14 $
    targets: 21 22 $                     (denoised_nmt)
    targets: 21 22 $ 11 12 13 14 $       (denoised_nmt_lm)
"""

from collections.abc import Mapping
from typing import Any

from xlingual.objectives import noise, pair_corruption, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens


def denoised_nmt(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    **options: Any,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`: `<2yy>` and a side with dropped spans, the other side.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, tags and sentinels.
      **options: of `map_denoised`.

    Raises:
      ConfigError: as `map_denoised`.
    """
    del output_features
    return map_denoised(
        dataset, sequence_length, special_tokens=special_tokens, name="denoised_nmt", **options
    )


def denoised_nmt_lm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    **options: Any,
) -> tf.data.Dataset:
    """Returns examples as `denoised_nmt`, whose targets go on with the clean source side.

    Args:
      dataset: as `denoised_nmt`.
      sequence_length: as `denoised_nmt`.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, tags and sentinels.
      **options: of `map_denoised`.

    Raises:
      ConfigError: as `map_denoised`.
    """
    del output_features
    return map_denoised(
        dataset,
        sequence_length,
        special_tokens=special_tokens,
        name="denoised_nmt_lm",
        then_x=True,
        **options,
    )


def map_denoised(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    *,
    special_tokens: SpecialTokens,
    name: str,
    then_x: bool = False,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    direction: str = "both",
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns the examples of both objectives of this module.

    Args:
      dataset: tokenised pairs.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      special_tokens: ids of EOS, tags and sentinels.
      name: of the objective, for messages.
      then_x: the source side follows the translation.
      noise_density: share of the source that is dropped, in (0, 1).
      mean_noise_span_length: tokens, at least 1.
      direction: `both` (two examples a pair), `fwd` (src to tgt) or `random` (one of the two).
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: a setting is out of range, tags are missing, lengths too short, or a text may
        need more sentinels than there are.
    """
    noise.check_noise(noise_density, mean_noise_span_length)
    corruption = pair_corruption.Corruption(
        x_density=noise_density, mean_noise_span_length=mean_noise_span_length, then_x=then_x
    )
    translation.check_lengths(sequence_length, 4, name)
    pair_corruption.check_sentinels(
        sequence_length, corruption, special_tokens, f"{name} with noise_density={noise_density}"
    )
    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        translation.tag_prefix(("<2",), special_tokens),
        corruption,
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
    )


OBJECTIVES = (
    Objective(name="denoised_nmt", preprocess=denoised_nmt, records=("pair",)),
    Objective(name="denoised_nmt_lm", preprocess=denoised_nmt_lm, records=("pair",)),
)
