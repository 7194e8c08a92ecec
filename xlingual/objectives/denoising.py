"""Rebuild a text from a noisy copy in the same language, under its language tag.

DoT (Ding, Peng & Tao, 2022, arXiv:2201.07365) and BiT (Ding, Wu & Tao, 2021, EMNLP) denoise both
sides of pairs before translating; the noise is that of XLM (Lample & Conneau, 2019, NeurIPS). Mixed
with translation to and from a pivot, it also shows a model that the tag, and not the language of
the source, decides what language comes out: what directions never trained depend on.

    text:    11 12 13 14 15                   (French)
    inputs:  <2fr> 12 11 <mask> 15 $          (11 and 12 swapped, 13 masked, 14 dropped)
    targets: 11 12 13 14 15 $
"""

from collections.abc import Mapping, Sequence
from typing import Any

from xlingual.errors import ConfigError
from xlingual.objectives import rows, token_noise, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

STRONG_NOISE = {"shuffle_window": 4.0, "drop_rate": 0.15, "mask_rate": 0.35}
"""So noisy that copying does not pay: the text must be understood and said again."""
BART_NOISE = (token_noise.InfillSpans(rate=0.3, mean_span_length=3.0),)
_PAIR_FIELDS = ("src", "tgt", "src_lang", "tgt_lang")
_TEXT_FIELDS = ("targets", "lang")


def dot_denoise(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    shuffle_window: float = 3.0,
    drop_rate: float = 0.1,
    mask_rate: float = 0.1,
    noise: Sequence[token_noise.NoiseStep] | None = None,
    **options: Any,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`: `<2xx>` and noisy text, and the clean text.

    Args:
      dataset: as `noisy_pairs`.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; texts that do
        not fit are left out, and so are empty ones.
      output_features: the vocabulary of `targets` encodes prompts.
      special_tokens: ids of EOS, `<mask>`, tags and sentinels.
      shuffle_window: as `noisy_pairs`.
      drop_rate: as `noisy_pairs`.
      mask_rate: as `noisy_pairs`.
      noise: as `noisy_pairs`.
      **options: of `translation`, e.g. another format.

    Raises:
      ConfigError: a setting is out of range, fields or tags are missing, or lengths too short.
    """
    pairs = noisy_pairs(
        dataset,
        special_tokens=special_tokens,
        shuffle_window=shuffle_window,
        drop_rate=drop_rate,
        mask_rate=mask_rate,
        noise=noise,
        vocabulary=output_features["targets"].vocabulary,
    )
    return translation.translation(
        pairs,
        sequence_length,
        output_features,
        special_tokens=special_tokens,
        direction="fwd",
        max_length_ratio=None,
        **options,
    )


def noisy_pairs(
    dataset: tf.data.Dataset,
    *,
    special_tokens: SpecialTokens,
    shuffle_window: float = 3.0,
    drop_rate: float = 0.1,
    mask_rate: float = 0.1,
    noise: Sequence[token_noise.NoiseStep] | None = None,
    vocabulary: seqio.Vocabulary | None = None,
) -> tf.data.Dataset:
    """Returns pairs of a noisy and a clean text in one language, for any pair objective to format.

    The noise in its order: tokens are sorted by position + U(0, window), each is dropped with
    `drop_rate`, each that is left becomes `<mask>` with `mask_rate`. A text never loses all its
    tokens. Or any other `noise`.

    Args:
      dataset: tokenised texts `{targets [length] int32, lang}`, or pairs `{src, tgt, src_lang,
        tgt_lang}`, each of which gives an example of either side; no EOS.
      special_tokens: ids of `<mask>` and sentinels.
      shuffle_window: tokens, at least 1 (which keeps the order).
      drop_rate: in [0, 1).
      mask_rate: in [0, 1).
      noise: steps that take the place of the three above, see `token_noise`.
      vocabulary: tells which pieces begin words, for `InfillSpans`.

    Returns:
      Records `{src, tgt [length] int32, src_lang, tgt_lang}`; both languages are the text's.

    Raises:
      ConfigError: a setting is out of range, or fields or `<mask>` are missing.
    """
    if noise is None:
        noise = (
            token_noise.LocalShuffle(window=shuffle_window),
            token_noise.DropTokens(rate=drop_rate),
            token_noise.MaskTokens(rate=mask_rate),
        )
    found = set(dataset.element_spec)
    is_pair = found >= set(_PAIR_FIELDS)
    if not is_pair and not found >= set(_TEXT_FIELDS):
        raise ConfigError(
            f"records have the fields {sorted(found)}; denoising expects "
            f"{', '.join(_PAIR_FIELDS)} or {', '.join(_TEXT_FIELDS)}"
        )
    add_noise = token_noise.noise_function(noise, special_tokens, vocabulary=vocabulary)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        tokens = rows.interleave(batch["src"], batch["tgt"]) if is_pair else batch["targets"]
        lang = rows.interleave(batch["src_lang"], batch["tgt_lang"]) if is_pair else batch["lang"]
        tokens = rows.without_sentinels(tokens, special_tokens)
        noisy = add_noise(tokens, seeds)
        return {"src": noisy, "tgt": tokens, "src_lang": lang, "tgt_lang": lang}

    return rows.map_batches(
        dataset,
        make,
        batch_size=rows.DOCUMENTS_PER_BATCH,
        num_seeds=max(len(noise), 1),
        fields=_PAIR_FIELDS,
    )


def bit(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    **options: Any,
) -> tf.data.Dataset:
    """Returns translation examples of both directions of each pair: the early stage of BiT.

    It is `translation(direction="both")` under the name that its papers give to the stage.

    Args:
      dataset: as `translation`.
      sequence_length: as `translation`.
      output_features: as `translation`.
      special_tokens: as `translation`.
      **options: of `translation`, except the direction.

    Raises:
      ConfigError: as `translation`.
    """
    return translation.translation(
        dataset,
        sequence_length,
        output_features,
        special_tokens=special_tokens,
        direction="both",
        **options,
    )


def denoise(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise: Sequence[token_noise.NoiseStep] = BART_NOISE,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`: noisy text without any tag, and the clean text.

    The objective of BART (Lewis et al., 2020, ACL) for one language, with any noise. Documents are
    cut into segments that fit both lengths with EOS; an example whose noise does not fit is left
    out.

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      output_features: the vocabulary of `targets` tells which pieces begin words.
      special_tokens: ids of EOS, `<mask>` and sentinels.
      noise: steps, see `token_noise`; the default is text infilling.

    Raises:
      ConfigError: a step is out of range, `<mask>` is missing, or lengths are too short.
    """
    translation.check_lengths(sequence_length, 2, "denoise")
    inputs_length, targets_length = (
        rows.feature_length(sequence_length, name) for name in ("inputs", "targets")
    )
    segment_length = min(inputs_length, targets_length) - 1
    add_noise = token_noise.noise_function(
        noise, special_tokens, vocabulary=output_features["targets"].vocabulary
    )

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        documents = rows.without_sentinels(batch["targets"], special_tokens)
        segments = rows.cut_each_row(documents, segment_length)
        noisy = rows.append_id(add_noise(segments, seeds), special_tokens.eos_id)
        found = {"inputs": noisy, "targets": rows.append_id(segments, special_tokens.eos_id)}
        return rows.keep_rows(found, noisy.row_lengths() <= inputs_length)

    return rows.map_batches(
        dataset, make, batch_size=rows.DOCUMENTS_PER_BATCH, num_seeds=max(len(noise), 1)
    )


OBJECTIVES = (
    Objective(name="bit", preprocess=bit, records=("pair",)),
    Objective(name="denoise", preprocess=denoise, records=("mono",)),
    Objective(name="dot_denoise", preprocess=dot_denoise, records=("mono", "pair")),
)
