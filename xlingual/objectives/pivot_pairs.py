"""Direct pairs out of triples: two languages that met on the same pivot sentence.

Records that a join through a pivot made (`xlingual pivot-join`) hold a text in a source, a pivot
and a target language. Any objective on pairs takes their outer sides as a pair:

    {src: hi text, pivot: en text, tgt: sw text}  ->  {src: hi text, tgt: sw text}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from xlingual.errors import ConfigError
from xlingual.objectives import registry, rows, twins
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

_SIDES = ("src", "tgt")
_PAIR_FIELDS = ("src", "tgt", "src_lang", "tgt_lang")


def pivot_pairs(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    objective: str = "translation",
    include_pivot: bool = False,
    **options: Any,
) -> tf.data.Dataset:
    """Returns the examples of an objective on pairs, for pairs whose sides share a pivot text.

    Args:
      dataset: tokenised records `{src, pivot, tgt [length] int32, src_lang, pivot_lang, tgt_lang}`.
      sequence_length: task feature lengths, in tokens.
      output_features: of the task.
      special_tokens: of the vocabulary.
      objective: name of an objective on tokenised pairs.
      include_pivot: also pairs of either side with the pivot.
      **options: of the objective.

    Raises:
      ConfigError: the objective is unknown or takes no tokenised pairs, or fields are missing.
    """
    found = registry.get_objective(objective)
    if "pair" not in found.records or not found.tokenized:
        raise ConfigError(
            f"objective={objective!r} takes {', '.join(found.records)} records; pivot_pairs "
            "expects one on tokenised pairs"
        )
    fields = [field for side in ("src", "pivot", "tgt") for field in (side, f"{side}_lang")]
    missing = sorted(set(fields) - set(dataset.element_spec))
    if missing:
        raise ConfigError(f"multi records lack the fields {missing}")
    sides = [_SIDES, ("src", "pivot"), ("pivot", "tgt")] if include_pivot else [_SIDES]

    def pairs(record: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
        made = [_pair(record, *names) for names in sides]
        whole = tf.data.Dataset.from_tensors(made[0])
        for more in made[1:]:
            whole = whole.concatenate(tf.data.Dataset.from_tensors(more))
        return whole

    def pairs_of_batch(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        made = [_pair(batch, *names) for names in sides]
        columns = {name: [pair[name] for pair in made] for name in made[0]}
        return {name: _by_record(parts) for name, parts in columns.items()}

    if isinstance(dataset, twins.Records):
        dataset = dataset.map_batches(
            pairs_of_batch, batch_size=rows.PAIRS_PER_BATCH, num_seeds=0, fields=_PAIR_FIELDS
        )
    elif include_pivot:
        dataset = dataset.flat_map(pairs)
    else:
        dataset = dataset.map(lambda record: _pair(record, *_SIDES))
    return found.preprocess(
        dataset, sequence_length, output_features, special_tokens=special_tokens, **options
    )


def _pair(record: Mapping[str, tf.Tensor], source: str, target: str) -> dict[str, tf.Tensor]:
    return {
        "src": record[source],
        "tgt": record[target],
        "src_lang": record[f"{source}_lang"],
        "tgt_lang": record[f"{target}_lang"],
    }


def _by_record(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the first row of all parts, then the second of all, and so on."""
    both = tf.concat(parts, axis=0)
    count = tf.shape(both, out_type=tf.int64)[0] // len(parts)
    order = tf.range(count)[:, tf.newaxis] + count * tf.range(len(parts), dtype=tf.int64)
    return tf.gather(both, tf.reshape(order, [-1]))


OBJECTIVES = (Objective(name="pivot_pairs", preprocess=pivot_pairs, records=("multi",)),)
