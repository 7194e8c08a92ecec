"""A data source whose every row says which mixture it is of and the how-many-th."""

import dataclasses

import jax
import numpy as np

from xlingual.data.base import TaskInfo
from xlingual.data.shards import ShardedRows

TASKS = {"mono": ("en", "fr"), "pairs": ("fr", "mt"), "late": ("mt",)}


class NumberedIterator:
    def __init__(self, source, shard):
        self.source, self.shard, self.number = source, shard, 0

    def __next__(self):
        size = self.source.batch_size // self.source.num_shards
        begin = self.number * self.source.batch_size + self.shard * size
        rows = np.arange(begin, begin + size, dtype=np.int32)[:, None]
        self.number += 1
        task = 1 + rows % len(self.source.tasks)
        return {"rows": rows, "decoder_task_ids": task}

    def state(self):
        return str(self.number).encode()

    def restore(self, state):
        self.number = int(state)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberedSource:
    """The mixture `mono` has the tasks `en` and `fr`, row by row in turn; and so on."""

    mixture_or_task_name: str = "mono"
    batch_size: int = 8
    num_shards: int = 1
    part: int = 0
    vocab_size: int = 50
    share_unit: str = "tokens"

    @property
    def tasks(self):
        names = TASKS[self.mixture_or_task_name]
        return tuple(
            TaskInfo(name=n, share=1 / len(names), share_unit=self.share_unit) for n in names
        )

    @property
    def spec(self):
        shape = jax.ShapeDtypeStruct((self.batch_size, 1), np.int32)
        return {"rows": shape, "decoder_task_ids": shape}

    def fingerprint(self):
        names = dict.fromkeys(TASKS[self.mixture_or_task_name], 7)
        return {"vocabulary": "v", "mixture": self.mixture_or_task_name, "num_records": names}

    def open_shard(self, shard):
        return NumberedIterator(self, shard)

    def iterator(self, rows=None):
        return ShardedRows(
            self.open_shard, num_shards=self.num_shards, batch_size=self.batch_size, rows=rows
        )
