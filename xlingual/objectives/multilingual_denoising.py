"""Multilingual denoising: rebuild whole documents whose sentences were permuted and infilled.

The objective of mBART (Liu et al., 2020, TACL), noise as in BART (Lewis et al., 2020, ACL). An
instance is as many consecutive sentences of a document as fit, each with a delimiter. Only the
source is noisy. The language tag ends the inputs and begins the targets, where its weight is 0: so
it acts as the decoder's start symbol of that language. Sentences `A1 A2 A3` and `B1 B2`, delimiter
`/`, tag `<en>`, EOS `$`:

    permuted: B1 B2 / A1 A2 A3 /
    inputs:   <mask> B2 <mask> / A1 <mask> / <en> $     (B1; an inserted mask; A2 A3)
    targets:  <en> A1 A2 A3 / B1 B2 / $
    weights:  0    1  1  1  1 1  1  1 1
"""

from collections.abc import Mapping, Sequence

from xlingual.errors import ConfigError
from xlingual.objectives import (
    pair_corruption,
    rows,
    sentences,
    token_noise,
    translation,
)
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

MBART_NOISE = (token_noise.PermuteSentences(), token_noise.InfillSpans())
TAGS = ("<lg:", "<2")


def mbart(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise: Sequence[token_noise.NoiseStep] = MBART_NOISE,
    tag: str = "<lg:",
    delimiter: str = "<sep>",
    sentence_split: str = "punctuation",
    whole_words: bool = True,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`: noisy sentences and a language tag, and the clean text.

    Args:
      dataset: records `{text, lang}`, scalar strings.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; an instance is two
        tokens shorter than the shorter one.
      output_features: the vocabulary of `targets` encodes the text.
      special_tokens: ids of EOS, `<mask>`, tags, the delimiter and sentinels.
      noise: steps, see `token_noise`; by default all sentences are permuted and 35% of the words
        infilled, mean span 3.5. An example that grows beyond `inputs` is left out.
      tag: opening of the language tag: `<lg:` (text is in) or `<2` (as translation has it).
      delimiter: control token that ends each sentence.
      sentence_split: `punctuation`, which also splits at line breaks, or `lines`.
      whole_words: spans begin with words, as pieces show them; False makes every token a word, for
        languages written without spaces.

    Returns:
      Examples `{inputs, targets, targets_weights}`; weight class 0 at the leading tag, else 1.

    Raises:
      ConfigError: a setting is out of range, fields or control tokens are missing, or lengths are
        too short.
    """
    pair_corruption.check_choice("tag", tag, TAGS)
    pair_corruption.check_choice("sentence_split", sentence_split, sentences.SPLITS)
    missing = {"text", "lang"} - set(dataset.element_spec)
    if missing:
        raise ConfigError(f"mono records lack the fields {sorted(missing)}; mbart reads text")
    inputs_length, targets_length = (
        rows.feature_length(sequence_length, name) for name in ("inputs", "targets")
    )
    for name, found in (("inputs", inputs_length), ("targets", targets_length)):
        if found < 4:
            raise ConfigError(
                f"task_feature_lengths[{name!r}]={found} is too short for mbart; expected at "
                "least 4"
            )
    tags = translation.language_tags(tag, special_tokens)
    delimiter_id = special_tokens.control_id(delimiter)
    vocabulary = output_features["targets"].vocabulary
    add_noise = token_noise.noise_function(
        noise,
        special_tokens,
        delimiter_id=delimiter_id,
        vocabulary=vocabulary if whole_words else None,
    )

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        text = sentences.split_sentences(batch["text"], sentence_split)
        encoded = sentences.encode_sentences(text, vocabulary, delimiter_id)
        encoded = encoded.with_values(rows.without_sentinels(encoded.values, special_tokens))
        length = min(inputs_length, targets_length) - 2
        clean, document = sentences.fill_instances(encoded, length)
        tag_ids = pair_corruption.language_ids(batch["lang"], tags, f"a {tag}xx> tag")
        tag_rows = rows.single_ids(tf.gather(tag_ids, document))
        noisy = rows.join_rows(add_noise(clean, seeds), tag_rows)
        inputs = rows.append_id(noisy, special_tokens.eos_id)
        targets = rows.append_id(rows.join_rows(tag_rows, clean), special_tokens.eos_id)
        weights = targets.with_values(tf.cast(rows.positions(targets) > 0, tf.int32))
        found = {"inputs": inputs, "targets": targets, "targets_weights": weights}
        return rows.keep_rows(found, inputs.row_lengths() <= inputs_length)

    return rows.map_batches(
        dataset, make, batch_size=rows.DOCUMENTS_PER_BATCH, num_seeds=max(len(noise), 1)
    )


OBJECTIVES = (Objective(name="mbart", preprocess=mbart, records=("mono",), tokenized=False),)
