"""Ragged batches of token rows: how objectives process many examples with few operations.

A per-example `tf.data` stage costs more than the work done in it. So documents are gathered into
ragged batches, an objective transforms a whole batch, and its rows are handed out one by one.
"""

from collections.abc import Callable, Collection, Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import twins
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.special_tokens import SpecialTokens

Features = dict[str, tf.Tensor | tf.RaggedTensor]

DOCUMENTS_PER_BATCH = 128
PAIRS_PER_BATCH = 64


def map_batches(
    dataset: tf.data.Dataset,
    fn: Callable[[Features, tf.Tensor], Features],
    *,
    batch_size: int,
    num_seeds: int,
    fields: Collection[str] = (),
) -> tf.data.Dataset:
    """Applies `fn` to ragged batches and hands out the rows of its results.

    Args:
      dataset: examples; rank-1 features become ragged, scalars become vectors.
      fn: (batch of features, seeds [num_seeds, 2] int32) -> features with one row an example.
      batch_size: examples a call; the last batch may be smaller.
      num_seeds: fresh seeds for each call.
      fields: what `fn` returns, where another stage follows: without TensorFlow nothing tells it.

    Returns:
      The rows: each feature rank 1, unpadded. The `element_spec` is that of ragged rank 0.
    """
    if isinstance(dataset, twins.Records):
        return dataset.map_batches(fn, batch_size=batch_size, num_seeds=num_seeds, fields=fields)
    plain = tf.autograph.experimental.do_not_convert(fn)

    @seqio.map_over_dataset(num_seeds=1)
    def apply(batch: Features, seed: tf.Tensor) -> Features:
        return plain(batch, tf.random.split(seed, num_seeds))

    batches = dataset.ragged_batch(batch_size)
    return apply(batches).unbatch()


def cut_rows(tokens: tf.Tensor, length: int) -> tf.RaggedTensor:
    """Returns `tokens` [total] int32 cut into rows of `length`; only the last may be shorter."""
    total = tf.size(tokens, tf.int64)
    splits = tf.concat([tf.range(0, total, length, tf.int64), [total]], axis=0)
    return tf.RaggedTensor.from_row_splits(tokens, splits, validate=False)


def cut_each_row(rows: tf.RaggedTensor, length: int) -> tf.RaggedTensor:
    """Returns every row cut into rows of at most `length`; empty rows vanish."""
    return rows_from_starts(rows.values, positions(rows) % length == 0)


def rows_from_starts(tokens: tf.Tensor, starts: tf.Tensor) -> tf.RaggedTensor:
    """Returns `tokens` [total] int32 with a new row at each True of `starts` [total] bool."""
    splits = tf.concat([tf.where(starts)[:, 0], [tf.size(tokens, tf.int64)]], axis=0)
    return tf.RaggedTensor.from_row_splits(tokens, splits, validate=False)


def row_ids(rows: tf.RaggedTensor) -> tf.Tensor:
    """Returns the row of each value, [total] int64.

    The method `value_rowids` of ragged tensors does the same with six times as many operations.
    """
    ends = rows.row_splits[tf.newaxis, 1:]
    places = tf.range(tf.size(rows.values, tf.int64))[tf.newaxis]
    ids = tf.raw_ops.UpperBound(sorted_inputs=ends, values=places, out_type=tf.int64)
    return tf.reshape(ids, [-1])


def positions(rows: tf.RaggedTensor) -> tf.Tensor:
    """Returns the position of each value in its row, [total] int64."""
    starts = tf.gather(rows.row_splits, row_ids(rows))
    return tf.range(tf.size(rows.values, tf.int64)) - starts


def is_last(rows: tf.RaggedTensor) -> tf.Tensor:
    """Returns whether each value ends its row, [total] bool."""
    ids = row_ids(rows)
    return ids != tf.concat([ids, [-1]], axis=0)[1:]


def append_id(rows: tf.RaggedTensor, token: int | tf.Tensor) -> tf.RaggedTensor:
    """Returns `rows` [batch, (length)] int32 with one more id at the end of each row.

    Args:
      rows: [batch, (length)] int32.
      token: the id; or [batch] int32, one for each row.
    """
    places = tf.range(tf.size(rows.values, tf.int64)) + row_ids(rows)
    splits = rows.row_splits + tf.range(tf.size(rows.row_splits, tf.int64))
    if isinstance(token, int):
        values = tf.fill([splits[-1]], token)
    else:
        values = tf.repeat(token, rows.row_lengths() + 1)
    values = tf.tensor_scatter_nd_update(values, places[:, tf.newaxis], rows.values)
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def random_order(rows: tf.RaggedTensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Returns indices that shuffle the values of each row among themselves, [total] int32."""
    draws = tf.random.stateless_uniform([tf.size(rows.values)], seed, dtype=tf.float64)
    return tf.argsort(tf.cast(row_ids(rows), tf.float64) + draws)


def random_ranks(rows: tf.RaggedTensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Returns the place of each value in a random order of its row, [total] int64, from 0."""
    places = tf.math.invert_permutation(random_order(rows, seed=seed))
    return tf.cast(places, tf.int64) - tf.gather(rows.row_splits, row_ids(rows))


def single_ids(ids: tf.Tensor) -> tf.RaggedTensor:
    """Returns rows of one id each: `ids` [batch] int32 as [batch, (1)]."""
    splits = tf.range(tf.size(ids, tf.int64) + 1)
    return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)


def join_rows(*parts: tf.RaggedTensor) -> tf.RaggedTensor:
    """Returns rows that hold the rows of all `parts`, [batch, (length)] int32, one after another.

    `tf.concat` on axis 1 does the same with twice as many operations.
    """
    count = parts[0].nrows()
    order = tf.range(count)[:, tf.newaxis] + count * tf.range(len(parts), dtype=tf.int64)
    rows = tf.gather(tf.concat(parts, axis=0), tf.reshape(order, [-1]))
    splits = rows.row_splits[:: len(parts)]
    return tf.RaggedTensor.from_row_splits(rows.values, splits, validate=False)


def empty_rows(count: tf.Tensor) -> tf.RaggedTensor:
    """Returns `count` rows without values, [count, (0)] int32."""
    splits = tf.zeros([count + 1], tf.int64)
    return tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int32), splits, validate=False)


def exchange_rows(
    first: tf.RaggedTensor, second: tf.RaggedTensor, where: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Returns both, with their rows exchanged at the True places of `where` [batch] bool."""
    both = tf.concat([first, second], axis=0)
    place, count = tf.range(first.nrows()), first.nrows()
    moved = tf.where(where, place + count, place)
    return tf.gather(both, moved), tf.gather(both, 2 * place + count - moved)


def interleave(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns a_0, b_0, a_1, b_1 ... of two batches of as many rows, dense or ragged."""
    both = tf.concat([first, second], axis=0)
    count = tf.shape(both, out_type=tf.int64)[0] // 2
    order = tf.reshape(tf.stack([tf.range(count), tf.range(count) + count], axis=1), [-1])
    return tf.gather(both, order)


def keep_values(rows: tf.RaggedTensor, values: tf.Tensor, keep: tf.Tensor) -> tf.RaggedTensor:
    """Returns the kept `values` in the rows that their places have in `rows`.

    Args:
      rows: [batch, (length)].
      values: [total * slots], `slots` entries for each value of `rows`.
      keep: [total * slots] bool.
    """
    slots = tf.size(values, tf.int64) // tf.maximum(tf.size(rows.values, tf.int64), 1)
    before = tf.concat([[0], tf.cumsum(tf.cast(keep, tf.int64))], axis=0)
    splits = tf.gather(before, rows.row_splits * slots)
    kept = tf.gather(values, tf.where(keep)[:, 0])
    return tf.RaggedTensor.from_row_splits(kept, splits, validate=False)


def keep_rows(rows: Features, keep: tf.Tensor) -> Features:
    """Returns the rows of each feature at the True places of `keep` [batch] bool."""
    index = tf.where(keep)[:, 0]
    return {name: tf.gather(values, index) for name, values in rows.items()}


def select_forms(
    examples: Features,
    usable: tf.Tensor,
    limits: Mapping[str, int],
    *,
    num_forms: int,
    seed: tf.Tensor | None = None,
) -> Features:
    """Returns the examples of those records all whose forms fit and have something to learn.

    Args:
      examples: rows [num_forms * batch]: one form of all records, then the next form.
      usable: [batch] bool, records to choose from.
      limits: feature -> its largest length, in tokens.
      num_forms: examples that a record can give.
      seed: [2] int32, draws one form of each record; None hands out all, record by record.
    """
    fits = examples["targets"].row_lengths() > 1
    for name, limit in limits.items():
        fits &= examples[name].row_lengths() <= limit
    fits = tf.reduce_all(tf.reshape(fits, [num_forms, -1]), axis=0)
    index = tf.where(usable & fits)
    step = tf.size(usable, tf.int64)
    if seed is None:
        index = index + step * tf.range(num_forms, dtype=tf.int64)[tf.newaxis]
    else:
        draws = tf.random.stateless_uniform(tf.shape(index), seed, dtype=tf.float64)
        index = index + step * tf.cast(draws * num_forms, tf.int64)
    index = tf.reshape(index, [-1])
    return {name: tf.gather(values, index) for name, values in examples.items()}


def without_sentinels(rows: tf.RaggedTensor, special_tokens: SpecialTokens) -> tf.RaggedTensor:
    """Returns `rows`, after a check at run time that no value is a sentinel.

    Like every check it belongs outside the shared graphs of objectives: inside one, it would make
    the call stateful, and the position of such a data set cannot be saved.

    Raises:
      tf.errors.InvalidArgumentError: when run on tokens that hold sentinel ids; it names them.
    """
    low, high = special_tokens.sentinel_end, special_tokens.sentinel_start
    tokens = rows.values
    found = tf.gather(tokens, tf.where((tokens >= low) & (tokens <= high))[:, 0])
    message = (
        f"text contains sentinel ids, expected none from {low} to {high}; remove the sentinel "
        "pieces <extra_id_k> from the text or drop these documents; found "
    )
    return rows.with_values(checked(tokens, tf.size(found) == 0, message, found))


def checked(tensor: tf.Tensor, condition: tf.Tensor, message: str, found: tf.Tensor) -> tf.Tensor:
    """Returns `tensor`, after a check at run time of a scalar `condition`.

    Raises:
      tf.errors.InvalidArgumentError: when run and the condition is False; it shows `message` and
        the first values of `found`, a vector.
    """
    values = tf.strings.reduce_join(tf.strings.as_string(found[:5]), separator=" ")
    check = tf.raw_ops.Assert(condition=condition, data=[tf.strings.join([message, values])])
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(tensor)


def feature_length(sequence_length: Mapping[str, int] | None, name: str) -> int:
    """Returns `task_feature_lengths[name]`.

    Raises:
      ConfigError: it is missing.
    """
    if not sequence_length or not sequence_length.get(name):
        raise ConfigError(
            f"task_feature_lengths[{name!r}] is missing; found {dict(sequence_length or {})}"
        )
    return sequence_length[name]
