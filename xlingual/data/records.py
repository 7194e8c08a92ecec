"""Raw records of one split: in memory when they fit, streamed from files when they do not.

Records in memory are shuffled by a pseudo-random permutation of their indices, which is a function
of (seed, epoch, index). So the shuffle is perfect, and a saved position is one number. Streamed
records pass a shuffle buffer, whose content is part of a saved position; restoring reads no record
twice.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Protocol

import seqio
import tensorflow as tf

_LOAD_BATCH = 8192
_INDEX_BATCH = 256
_ENDLESS = 1 << 62


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """Which records a stream has, and in what order.

    Attributes:
      seed: of the shuffle.
      shuffle: whether to shuffle, anew in each epoch; else in the order of the source.
      num_epochs: passes over the records; None without end.
      shard: this stream, in [0, num_shards).
      num_shards: streams that share the records, each record going to one of them.
    """

    seed: int
    shuffle: bool = True
    num_epochs: int | None = None
    shard: int = 0
    num_shards: int = 1


class Records(Protocol):
    """The records of one split of one source."""

    @property
    def count(self) -> int | None:
        """Number of records; None when unknown."""

    def stream(self, order: Order) -> tf.data.Dataset:
        """Returns the records of one shard."""

    def sample(self, count: int, seed: int) -> tf.data.Dataset:
        """Returns at most `count` records, once each: a random choice where that is cheap."""


def load_records(
    source: seqio.DataSource,
    split: str,
    *,
    max_records_in_memory: int = 200_000,
    max_bytes_in_memory: int = 1 << 26,
    shuffle_buffer_size: int = 4096,
) -> Records:
    """Returns the records of a split, loaded if they stay below both limits.

    Args:
      source: any SeqIO source. Records of scalars can be loaded; others are streamed.
      split: name of the split.
      max_records_in_memory: limit of loaded records.
      max_bytes_in_memory: limit of their total size.
      shuffle_buffer_size: records in the shuffle buffer of a streamed source.
    """
    streamed = StreamedRecords(source=source, split=split, shuffle_buffer_size=shuffle_buffer_size)
    declared = source.num_input_examples(split)
    if declared is not None and declared > max_records_in_memory:
        return streamed
    dataset = source.get_dataset(split=split, shuffle=False)
    spec = dataset.element_spec
    if not isinstance(spec, Mapping) or any(
        not isinstance(part, tf.TensorSpec) or part.shape.rank != 0 for part in spec.values()
    ):
        return streamed
    batches: list[Mapping[str, tf.Tensor]] = []
    count = size = 0
    for batch in dataset.batch(_LOAD_BATCH):
        batches.append(batch)
        count += int(next(iter(batch.values())).shape[0])
        size += sum(_num_bytes(column) for column in batch.values())
        if count > max_records_in_memory or size > max_bytes_in_memory:
            return streamed
    columns = {
        name: tf.concat([tf.zeros([0], part.dtype), *(batch[name] for batch in batches)], axis=0)
        for name, part in spec.items()
    }
    return LoadedRecords(columns=columns, count=count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedRecords:
    """Records in memory.

    Attributes:
      columns: field -> [count] tensor.
      count: number of records.
    """

    columns: Mapping[str, tf.Tensor]
    count: int

    def stream(self, order: Order) -> tf.data.Dataset:
        """Returns the records of one shard; see `Records`."""
        end = _ENDLESS if order.num_epochs is None else order.num_epochs * self.count
        places = tf.data.Dataset.range(order.shard, end, order.num_shards)
        return self._gather(places, seed=order.seed, shuffle=order.shuffle)

    def sample(self, count: int, seed: int) -> tf.data.Dataset:
        """Returns `min(count, self.count)` records chosen at random; see `Records`."""
        places = tf.data.Dataset.range(min(count, self.count))
        return self._gather(places, seed=seed, shuffle=True)

    def _gather(self, places: tf.data.Dataset, *, seed: int, shuffle: bool) -> tf.data.Dataset:
        words = tf.constant([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF], tf.uint32)
        count = tf.constant(max(self.count, 1), tf.int64)
        return _look_up(places, dict(self.columns), count, words, tf.constant(shuffle))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamedRecords:
    """Records read from their source as they are needed.

    Attributes:
      source: SeqIO source.
      split: its split.
      shuffle_buffer_size: records in the shuffle buffer.
    """

    source: seqio.DataSource
    split: str
    shuffle_buffer_size: int

    @property
    def count(self) -> int | None:
        """Number of records as the source declares it, or None."""
        return self.source.num_input_examples(self.split)

    def stream(self, order: Order) -> tf.data.Dataset:
        """Returns the records of one shard; see `Records`.

        Shards share files when there are enough of them, else records.
        """
        arguments: dict[str, Any] = {"split": self.split, "shuffle": False}
        if order.shuffle and not isinstance(self.source, seqio.FunctionDataSource):
            arguments.update(shuffle=True, seed=order.seed)
        shards = seqio.ShardInfo(index=order.shard, num_shards=order.num_shards)
        by_file = order.num_shards > 1 and (
            self.source.supports_arbitrary_sharding
            or len(self.source.list_shards(self.split)) >= order.num_shards
        )
        if by_file:
            dataset = self.source.get_dataset(shard_info=shards, **arguments)
        else:
            dataset = self.source.get_dataset(**arguments)
            if order.num_shards > 1:
                dataset = dataset.shard(shards.num_shards, shards.index)
        if order.shuffle:
            dataset = dataset.shuffle(self.shuffle_buffer_size, seed=order.seed)
        return dataset.repeat(order.num_epochs)

    def sample(self, count: int, seed: int) -> tf.data.Dataset:
        """Returns the first `count` records; see `Records`."""
        del seed  # reading further to choose at random would cost a pass over the files
        return self.source.get_dataset(split=self.split, shuffle=False).take(count)


@functools.partial(tf.function, autograph=False)
@tf.autograph.experimental.do_not_convert
def _look_up(
    places: tf.data.Dataset,
    columns: Mapping[str, tf.Tensor],
    count: tf.Tensor,
    seed: tf.Tensor,
    shuffle: tf.Tensor,
) -> tf.data.Dataset:
    """Returns records by their place in the endless order of epochs; traced once for all tasks."""

    def gather(place: tf.Tensor) -> dict[str, tf.Tensor]:
        index = place % count
        epoch = tf.cast(place // count, tf.uint32)[:, None]
        key = tf.concat([tf.tile(seed[None], [tf.size(place), 1]), epoch], axis=1)
        shuffled = tf.random_index_shuffle(index, key, count - 1)
        index = tf.where(shuffle, shuffled, index)
        return {name: tf.gather(column, index) for name, column in columns.items()}

    return places.batch(_INDEX_BATCH).map(gather).unbatch()


def _num_bytes(column: tf.Tensor) -> int:
    if column.dtype == tf.string:
        return int(tf.reduce_sum(tf.strings.length(column))) + 24 * int(tf.size(column))
    return int(tf.size(column)) * column.dtype.size
