"""Deobfuscation: find out the names that a program had.

The objective of DOBF (Roziere et al., 2021, NeurIPS, arXiv:2102.07492): classes, functions and
variables lose their names for placeholders, the same name for the same placeholder, and the targets
say what each one was called. Literals and comments are left alone.

    code:    def add(a, b):  return a + b
    inputs:  def FUNC_0(VAR_0, VAR_1):  return VAR_0 + VAR_1 $
    targets: FUNC_0 add | VAR_0 a | VAR_1 b $

Placeholders are text, so that any vocabulary has them. DOBF parses; here names are found by regular
expressions (`code_identifiers`), inside the data pipeline.
"""

import re
from collections.abc import Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import code_identifiers, code_whitespace, rows, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

_SEPARATOR = " | "
_FIELDS = (("code", "pl"), ("text", "lang"))


def deobfuscation(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    obfuscation_rate: float = 0.5,
) -> tf.data.Dataset:
    """Returns examples whose targets list the names that placeholders in the code stand for.

    Left out is code without a name of its own, code that already holds placeholders, and an example
    that does not fit.

    Args:
      dataset: records `{code, pl}` or `{text, lang}`, scalar strings, of the languages in
        `reserved_words`.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      output_features: the vocabulary of `targets` encodes the code.
      special_tokens: ids of EOS and sentinels.
      obfuscation_rate: share of the names that are replaced, in (0, 1]; at least one is.

    Raises:
      ConfigError: the rate is out of range, fields are missing, or lengths are too short.
    """
    if not 0.0 < obfuscation_rate <= 1.0:
        raise ConfigError(f"obfuscation_rate is {obfuscation_rate}; expected a number in (0, 1]")
    translation.check_lengths(sequence_length, 2, "deobfuscation")
    fields = next((pair for pair in _FIELDS if set(pair) <= set(dataset.element_spec)), None)
    if fields is None:
        raise ConfigError(
            f"records have the fields {sorted(dataset.element_spec)}; deobfuscation expects code "
            "and pl, or text and lang"
        )
    vocabulary = output_features["targets"].vocabulary
    limits = {name: rows.feature_length(sequence_length, name) for name in ("inputs", "targets")}

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        code, lang = (batch[name] for name in fields)
        texts = obfuscate(code, lang, obfuscation_rate, seed=seeds[0])
        encoded = {
            "inputs": vocabulary.encode_tf(code_whitespace.encode_whitespace_tf(texts["inputs"])),
            "targets": vocabulary.encode_tf(code_whitespace.escape_control_tf(texts["targets"])),
        }
        keep = texts["targets"] != ""
        found = {}
        for name, ids in encoded.items():
            checked = rows.without_sentinels(ids, special_tokens)
            found[name] = rows.append_id(checked, special_tokens.eos_id)
            keep &= found[name].row_lengths() <= limits[name]
        return rows.keep_rows(found, keep)

    return rows.map_batches(dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=1)


def obfuscate(
    code: tf.Tensor, lang: tf.Tensor, rate: float, *, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns `inputs`, code with placeholders, and `targets`, their names: [batch] string each.

    Targets are empty where there is no name to replace.

    Args:
      code: [batch] string.
      lang: [batch] string, programming languages.
      rate: share of names that are replaced, in (0, 1].
      seed: [2] int32.
    """
    lexemes = code_identifiers.split_code(code, lang)
    names = code_identifiers.own_names(lexemes)
    taken = tf.strings.regex_full_match(code, f"(?s).*{code_identifiers.PLACEHOLDER}.*")
    usable = names.is_own & ~tf.gather(taken, names.document)
    draws = tf.random.stateless_uniform(tf.shape(names.name), seed, dtype=tf.float64)
    draws = tf.where(usable, draws, 2.0)
    lowest = tf.math.unsorted_segment_min(draws, names.document, tf.size(code))
    chosen = usable & ((draws < rate) | (draws == tf.gather(lowest, names.document)))
    placeholders = _placeholders(names, chosen)
    replaced = lexemes.is_name & tf.gather(tf.concat([chosen, [False]], axis=0), names.of_part)
    shown = tf.gather(tf.concat([placeholders, [""]], axis=0), names.of_part)
    parts = lexemes.parts.with_values(tf.where(replaced, shown, lexemes.parts.values))
    index = tf.where(chosen)[:, 0]
    entries = tf.RaggedTensor.from_value_rowids(
        tf.strings.join([tf.gather(placeholders, index), tf.gather(names.name, index)], " "),
        tf.gather(names.document, index),
        tf.size(code, tf.int64),
        validate=False,
    )
    return {
        "inputs": tf.strings.reduce_join(parts, axis=-1),
        "targets": tf.strings.reduce_join(entries, axis=-1, separator=_SEPARATOR),
    }


def restore_names(code: str, targets: str) -> str:
    """Returns code with each placeholder replaced by its name; those not listed stay.

    >>> restore_names("def FUNC_0(VAR_0):", "FUNC_0 add | VAR_0 a")
    'def add(a):'
    """
    entries = [entry.split(" ", 1) for entry in targets.split(_SEPARATOR) if " " in entry]
    names = {placeholder: name.strip() for placeholder, name in entries}
    return re.sub(code_identifiers.PLACEHOLDER, lambda found: names.get(found[0], found[0]), code)


def _placeholders(names: code_identifiers.Names, chosen: tf.Tensor) -> tf.Tensor:
    """Returns `KIND_i` of each name, numbered by text and kind among the chosen: [names] string."""
    kinds = tf.constant(code_identifiers.KINDS)
    group = names.document * len(code_identifiers.KINDS) + names.kind
    order = tf.argsort(group, stable=True)
    counts = tf.cumsum(tf.cast(tf.gather(chosen, order), tf.int32), exclusive=True)
    ordered_group = tf.gather(group, order)
    num_groups = tf.reduce_max(tf.concat([group, [0]], axis=0)) + 1
    least = tf.math.unsorted_segment_min(counts, ordered_group, num_groups)
    number = counts - tf.gather(least, ordered_group)
    number = tf.gather(number, tf.math.invert_permutation(order))
    return tf.strings.join([tf.gather(kinds, names.kind), tf.strings.as_string(number)], "_")


OBJECTIVES = (
    Objective(
        name="deobfuscation",
        preprocess=deobfuscation,
        records=("code",),
        tokenized=False,
    ),
)
