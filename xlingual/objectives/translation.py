"""Supervised translation as one more text-to-text task.

Formats (T5: Raffel et al., 2020, JMLR 21(140); target tags: GNMT-ZS, Johnson et al., 2017, TACL):

    tag:     <2en> x $                              -> y $
    src_tgt: <lg:de> <2en> x $                      -> y $
    prompt:  translate German to English: x $       -> y $
"""

import functools
from collections.abc import Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption, rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

FORMATS = ("tag", "src_tgt", "prompt")


def translation(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    format: str = "tag",
    direction: str = "both",
    language_names: Mapping[str, str] | None = None,
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}` whose targets are the other side of a pair and EOS.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: the vocabulary of `targets` encodes prompts.
      special_tokens: ids of EOS, tags and sentinels.
      format: `tag`, `src_tgt` or `prompt`.
      direction: `both` (two examples a pair), `fwd` (src to tgt) or `random` (one of the two).
      language_names: code -> English name; needed by `prompt`.
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: unknown format or direction, tags or names missing, or lengths too short.
    """
    pair_corruption.check_choice("format", format, FORMATS)
    prefix: pair_corruption.Prefix
    vocabulary = output_features["targets"].vocabulary
    if format == "prompt":
        names = _required_names(language_names, "format='prompt'")
        prefix_length = longest_prompt(names, vocabulary)
        prefix = functools.partial(prompts, language_names=names, vocabulary=vocabulary)
    else:
        openings = ("<2",) if format == "tag" else ("<lg:", "<2")
        prefix_length = len(openings)
        prefix = tag_prefix(openings, special_tokens)
    check_lengths(sequence_length, prefix_length + 2, f"translation with format={format!r}")
    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        prefix,
        pair_corruption.Corruption(layout="seq2seq"),
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
    )


def language_tags(opening: str, special_tokens: SpecialTokens) -> dict[str, int]:
    """Returns language code -> id of its tag.

    Args:
      opening: `<2` (translate into) or `<lg:` (text is in).
      special_tokens: the control tokens of the vocabulary.

    Raises:
      ConfigError: the vocabulary has no such tag.
    """
    tags = {
        name[len(opening) : -1]: index
        for name, index in special_tokens.control.items()
        if name.startswith(opening) and name.endswith(">")
    }
    if not tags:
        raise ConfigError(
            f"the vocabulary has no {opening}xx> tags; found {len(special_tokens.control)} control "
            "tokens, expected one such tag a language"
        )
    return tags


def tag_prefix(openings: tuple[str, ...], special_tokens: SpecialTokens) -> pair_corruption.Prefix:
    """Returns what makes rows of tags, one for each of `openings`, from languages.

    Args:
      openings: some of `<2` (translate into) and `<lg:` (text is in).
      special_tokens: the control tokens of the vocabulary.

    Raises:
      ConfigError: the vocabulary has no such tags.
    """
    tags = {opening: language_tags(opening, special_tokens) for opening in openings}
    return functools.partial(_tags, tags=tags)


def target_tags(lang: tf.Tensor, tags: Mapping[str, int]) -> tf.Tensor:
    """Returns the id of `<2xx>` for each language, checked at run time: [batch] int32.

    Args:
      lang: [batch] string.
      tags: `language_tags("<2", special_tokens)`.
    """
    return pair_corruption.language_ids(lang, tags, "a <2xx> tag")


def prompts(
    source_lang: tf.Tensor,
    target_lang: tf.Tensor,
    language_names: Mapping[str, str],
    vocabulary: seqio.Vocabulary,
    ending: str = ":",
) -> tf.RaggedTensor:
    """Returns the ids of `translate A to B` and `ending`: [batch, (length)] int32."""
    index = {code: i for i, code in enumerate(language_names)}
    names = tf.constant(list(language_names.values()))
    source = tf.gather(names, pair_corruption.language_ids(source_lang, index, "an English name"))
    target = tf.gather(names, pair_corruption.language_ids(target_lang, index, "an English name"))
    return vocabulary.encode_tf(tf.strings.join(["translate ", source, " to ", target, ending]))


def longest_prompt(
    language_names: Mapping[str, str], vocabulary: seqio.Vocabulary, ending: str = ":"
) -> int:
    """Returns the largest number of tokens that a prompt for these languages can have."""
    longest = max(len(vocabulary.encode(name)) for name in language_names.values())
    return len(vocabulary.encode(f"translate to{ending}")) + 2 * longest


def check_lengths(sequence_length: Mapping[str, int] | None, inputs: int, name: str) -> None:
    """Raises ConfigError if task feature lengths are below `inputs` and 2."""
    for feature, needed in (("inputs", inputs), ("targets", 2)):
        found = rows.feature_length(sequence_length, feature)
        if found < needed:
            raise ConfigError(
                f"task_feature_lengths[{feature!r}]={found} is too short for {name}; expected at "
                f"least {needed}"
            )


def _tags(
    source_lang: tf.Tensor, target_lang: tf.Tensor, tags: Mapping[str, Mapping[str, int]]
) -> tf.RaggedTensor:
    langs = {"<2": target_lang, "<lg:": source_lang}
    ids = [
        pair_corruption.language_ids(langs[opening], known, f"a {opening}xx> tag")
        for opening, known in tags.items()
    ]
    flat = tf.reshape(tf.stack(ids, axis=1), [-1])
    splits = tf.range(tf.size(source_lang, tf.int64) + 1) * len(ids)
    return tf.RaggedTensor.from_row_splits(flat, splits, validate=False)


def _required_names(language_names: Mapping[str, str] | None, user: str) -> Mapping[str, str]:
    if not language_names:
        raise ConfigError(f"language_names is missing; {user} expects code -> English name")
    return language_names


OBJECTIVES = (Objective(name="translation", preprocess=translation, records=("pair",)),)
