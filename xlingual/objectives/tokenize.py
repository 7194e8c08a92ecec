"""Text records to token ids, a batch of records at a time.

One tokenizer call on a vector of strings costs a fraction of a call a string. This is the last
deterministic preprocessor: what follows it may be cached.
"""

from collections.abc import Mapping, Sequence

from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace, rows, twins
from xlingual.objectives.backend import seqio, tf

_TOKEN_FIELDS = {"text": "targets", "src": "src", "pivot": "pivot", "tgt": "tgt"}


def tokenize(
    dataset: tf.data.Dataset,
    output_features: Mapping[str, seqio.Feature],
    *,
    code_fields: Sequence[str] = (),
) -> tf.data.Dataset:
    """Returns records with text replaced by ids.

    A `mono` record `{text, lang}` becomes `{targets [length] int32, lang}`; a `pair` record
    `{src, tgt, src_lang, tgt_lang}` keeps its names, with `src` and `tgt` [length] int32. Other
    features are kept. Monolingual documents without tokens are dropped. No EOS is added. Text
    that spells a control token is escaped; text that spells a sentinel is not, and the objective
    refuses it.

    Args:
      dataset: records of scalar strings.
      output_features: the vocabulary of `targets` encodes every field.
      code_fields: fields that hold code, whose whitespace is encoded.

    Raises:
      ConfigError: no text field, or a code field that the records do not have.
    """
    fields = [name for name in _TOKEN_FIELDS if name in dataset.element_spec]
    found = sorted(dataset.element_spec)
    if not fields:
        raise ConfigError(f"records have the fields {found}; expected `text`, or `src` and `tgt`")
    unknown = sorted(set(code_fields) - set(fields))
    if unknown:
        raise ConfigError(f"code_fields names {unknown}; expected some of the text fields {fields}")
    vocabulary = output_features["targets"].vocabulary

    def encode(batch: rows.Features) -> rows.Features:
        encoded = {name: value for name, value in batch.items() if name not in fields}
        for name in fields:
            if name in code_fields:
                text = code_whitespace.encode_whitespace_tf(batch[name])
            else:
                text = code_whitespace.escape_control_tf(batch[name])
            encoded[_TOKEN_FIELDS[name]] = vocabulary.encode_tf(text)
        if "targets" in encoded:
            encoded = rows.keep_rows(encoded, encoded["targets"].row_lengths() > 0)
        return encoded

    if isinstance(dataset, twins.Records):
        kept = [_TOKEN_FIELDS.get(name, name) for name in dataset.element_spec]
        return dataset.map_batches(
            lambda batch, seeds: encode(batch),
            batch_size=rows.DOCUMENTS_PER_BATCH,
            num_seeds=0,
            fields=kept,
        )
    batches = dataset.batch(rows.DOCUMENTS_PER_BATCH)
    plain = tf.autograph.experimental.do_not_convert(encode)
    encoded = batches.map(plain, num_parallel_calls=tf.data.AUTOTUNE)
    return encoded.unbatch()
