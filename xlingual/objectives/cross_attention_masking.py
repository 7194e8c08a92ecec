"""Fill the spans of one side from the other side alone, or from a translation the model made.

`camlm` and `btmlm` in the form for text-to-text models, after ERNIE-M (Ouyang et al., 2021, EMNLP).
In `camlm` the side with the spans is hidden, but for its layout: `<blank>` stands for each of its
other tokens. In `btmlm` the pairs are texts and their pseudo translations, which `xlingual
backtranslate` writes. Sides x = 11 .. 14 and y = 21 22, noise on 12 13:

    camlm:  inputs 21 22 $ <blank> S0 <blank> $     targets S0 12 13 $
    btmlm:  inputs 11 S0 14 $ 21 22 $               targets S0 12 13 $
"""

from collections.abc import Mapping

from xlingual.objectives import noise, pair_corruption, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens


def camlm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    direction: str = "random",
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples that fill spans of a side that is hidden but for its layout.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, `<blank>` and sentinels.
      noise_density: share of the hidden side that is to be written, in (0, 1].
      mean_noise_span_length: tokens, at least 1.
      direction: which side is hidden: `random`, `fwd` (tgt), or `both` (two examples a pair).
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: a setting is out of range, `<blank>` is missing, lengths are too short, or a
        pair may need more sentinels than there are.
    """
    del output_features
    if noise_density != 1.0:
        noise.check_noise(noise_density, mean_noise_span_length)
    corruption = pair_corruption.Corruption(
        y_density=noise_density,
        mean_noise_span_length=mean_noise_span_length,
        layout="concat",
        y_kept_as=special_tokens.control_id("<blank>"),
    )
    translation.check_lengths(sequence_length, 4, "camlm")
    pair_corruption.check_sentinels(
        sequence_length, corruption, special_tokens, f"camlm with noise_density={noise_density}"
    )
    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        None,
        corruption,
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
    )


def btmlm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples that fill spans of a text beside a translation that the model made of it.

    Pairs whose translation is empty or equals the text are dropped.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}` of a text (src) and
        its pseudo translation (tgt), no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      noise_density: share of the text that is dropped, in (0, 1).
      mean_noise_span_length: tokens, at least 1.
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: a setting is out of range, lengths are too short, or a pair may need more
        sentinels than there are.
    """
    del output_features
    noise.check_noise(noise_density, mean_noise_span_length)
    corruption = pair_corruption.Corruption(
        x_density=noise_density,
        y_density=0.0,
        mean_noise_span_length=mean_noise_span_length,
        layout="concat",
    )
    translation.check_lengths(sequence_length, 5, "btmlm")
    pair_corruption.check_sentinels(
        sequence_length, corruption, special_tokens, f"btmlm with noise_density={noise_density}"
    )
    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        None,
        corruption,
        special_tokens=special_tokens,
        direction="fwd",
        max_length_ratio=max_length_ratio,
        drop_copies=True,
    )


OBJECTIVES = (
    Objective(name="camlm", preprocess=camlm, records=("pair",)),
    Objective(name="btmlm", preprocess=btmlm, records=("pair",)),
)
