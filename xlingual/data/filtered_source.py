"""A source of records without those that filters drop; what is dropped can be asked for."""

import functools
from collections.abc import Sequence
from typing import Any

import seqio
import tensorflow as tf

from xlingual.data.filters import Filter, FilterCount, count_problems


class FilteredSource(seqio.DataSource):
    """Records of another source that pass all filters.

    Thresholds by quantile are fitted when a split is first read: on the train split, or the first
    split where there is no train, each on what passed the filters before; so they are the same on
    all hosts and in all splits.
    """

    def __init__(
        self, source: seqio.DataSource, filters: Sequence[Filter], hidden: Sequence[str] = ()
    ) -> None:
        """Wraps a source; reads nothing.

        Args:
          source: any source of text records.
          filters: in their order.
          hidden: fields that are there for filters alone, and are taken out behind them.
        """
        super().__init__(splits=tuple(source.splits))
        self._source, self._filters, self._hidden = source, tuple(filters), tuple(hidden)

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """As the source."""
        return bool(self._source.supports_arbitrary_sharding)

    def list_shards(self, split: str) -> Sequence[str]:
        """As the source."""
        return self._source.list_shards(split)

    def get_dataset(self, split: str = "train", *args: Any, **kwargs: Any) -> tf.data.Dataset:
        """Returns the records that stay; arguments as `seqio.DataSource.get_dataset`.

        Raises:
          ConfigError: records that do not suit a filter.
        """
        dataset = self._source.get_dataset(split, *args, **kwargs)
        for one in self._fitted():
            dataset = one(dataset)
        return self._show(dataset)

    def count_dropped(self, split: str, max_records: int | None = None) -> list[FilterCount]:
        """Returns what each filter drops of the first records of a split; of all by default.

        Raises:
          ConfigError: as `get_dataset`.
        """
        dataset = self._source.get_dataset(split=split, shuffle=False)
        return count_problems(
            dataset.take(-1 if max_records is None else max_records), self._fitted()
        )

    @functools.cache  # noqa: B019 - sources live as long as the process
    def _fitted(self) -> tuple[Filter, ...]:
        split = "train" if "train" in self.splits else self.splits[0]
        dataset = self._source.get_dataset(split=split, shuffle=False)
        found = []
        for one in self._filters:
            found.append(one.fitted(dataset))
            dataset = found[-1](dataset)
        return tuple(found)

    def _show(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        if not self._hidden:
            return dataset
        return dataset.map(
            lambda record: {name: v for name, v in record.items() if name not in self._hidden}
        )
