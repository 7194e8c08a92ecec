"""Training batches from a cache: no TensorFlow, an exact position, and any step at once.

`CacheSource` takes the place of `SeqioSource` in a run. Grain reads ahead, in threads or processes.

References:
  Grain contributors, Grain: feeding JAX models, https://github.com/google/grain (read-ahead, file
    formats).
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import grain
import jax
import numpy as np
from absl import flags

from xlingual.cache import packed_stream, rows, schedule
from xlingual.cache import shards as shards_lib
from xlingual.cache.manifest import CachedTask, Manifest
from xlingual.data.base import TaskInfo
from xlingual.errors import ConfigError, nearest

FAMILIES = ("encoder_decoder", "decoder_only")
_ENDLESS = 1 << 62


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheSource:
    """Training batches from a packed cache; implements `BatchSource`.

    The global stream is a function of the cache and the fields up to `part`: it is the same for any
    number of hosts, threads and processes.

    Attributes:
      folder: the cache, as `xlingual cache` made it.
      batch_size: rows of a global batch.
      mixture_or_task_name: task names -> shares, or one task name; None for all tasks of the cache
        with the shares that it declares.
      split: of the cache.
      seed: of the orders of records and of noise.
      shuffle: False reads records in stored order.
      part: of a run that has several parts (stages, arms); each reads in another order.
      loss_on_inputs: decoder-only models: weight 1 on input tokens too.
      vocabulary: what the cache must have been made with, as its manifest says it; None for any.
      checksums: whether the run starts with a look at the contents of all shards; hosts share the
        work. False compares sizes alone.
      on_bad_shard: `raise`, or `skip`: leave bad shards out, count them and say so.
      read_threads: threads that make batches ahead.
      read_processes: processes that do, instead of threads; 0 for none.
      batches_ahead: batches that are ready before they are asked for.
      host_index: this host; None asks JAX.
      host_count: number of hosts; None asks JAX.
    """

    folder: str
    batch_size: int
    mixture_or_task_name: str | Mapping[str, float] | None = None
    split: str = "train"
    seed: int = 0
    shuffle: bool = True
    part: int = 0
    loss_on_inputs: bool = False
    vocabulary: str | None = None
    checksums: bool = True
    on_bad_shard: Literal["raise", "skip"] = "raise"
    read_threads: int = 2
    read_processes: int = 0
    batches_ahead: int = 8
    host_index: int | None = None
    host_count: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "read_threads", "batches_ahead"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.read_processes < 0:
            raise ConfigError(f"read_processes is {self.read_processes}, expected at least 0")
        if self.on_bad_shard not in ("raise", "skip"):
            raise ConfigError(f"on_bad_shard={self.on_bad_shard!r}; expected 'raise' or 'skip'")

    @property
    def tasks(self) -> tuple[TaskInfo, ...]:
        """The leaves; `tasks[i]` has id `i + 1`.

        Raises:
          ConfigError: there is no cache, a shard is bad, or a task or split is not in it.
        """
        return tuple(
            TaskInfo(
                name=task.name,
                objective=task.objective,
                src_lang=task.src_lang,
                tgt_lang=task.tgt_lang,
                share=self._shares[task.name],
                share_unit=self._manifest.share_unit,
                examples_per_epoch=float(task.counts.examples) or None,
            )
            for task in self._tasks
        )

    @property
    def vocab_size(self) -> int:
        """Number of ids that can occur in a batch."""
        return self._manifest.vocab_size

    @property
    def specs(self) -> tuple[Mapping[str, jax.ShapeDtypeStruct], ...]:
        """Global shapes and dtypes of the batches of each row shape."""
        return tuple(self._spec(group.row_shape) for group in self.stream.plan.groups)

    @property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Global shapes and dtypes of a batch of the first row shape: name -> [batch, length]."""
        return self.specs[0]

    def fingerprint(self) -> Mapping[str, Any]:
        """What must not change under a checkpoint, as JSON types; see `BatchSource`."""
        return {
            "vocabulary": self._manifest.vocabulary,
            "mixture": {
                "name": self._manifest.mixture,
                "share_unit": self._manifest.share_unit,
                "shares": {name: round(share, 12) for name, share in self._shares.items()},
            },
            "task_feature_lengths": {task.name: dict(task.row_shape) for task in self._tasks},
            "batch_size": self.batch_size,
            "split": self.split,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "num_records": {task.name: task.num_records for task in self._tasks},
            "cache": schedule.derive_seed(
                *(shard.sha256 for task in self._tasks for shard in task.shards)
            ),
        }

    def iterator(self) -> "CacheIterator":
        """Opens the stream of this host's rows at its beginning.

        Raises:
          ConfigError: as `tasks`, and a batch that does not divide over the hosts.
        """
        return CacheIterator(self)

    def declared_shares(self, steps: int) -> Mapping[str, float]:
        """Returns task name -> declared share of any number of steps."""
        del steps
        return self._shares

    @functools.cached_property
    def stream(self) -> packed_stream.PackedStream:
        """The batches of this host by their numbers.

        Raises:
          ConfigError: as `iterator`.
        """
        index, count = self._hosts
        if self.batch_size % count:
            raise ConfigError(f"batch_size={self.batch_size} does not divide over {count} hosts")
        share = self.batch_size // count
        sizes = packed_stream.mean_sizes(self._tasks, self._manifest.share_unit)
        return packed_stream.PackedStream(
            folder=pathlib.Path(self.folder),
            tasks=self._tasks,
            plan=packed_stream.make_plan(self._tasks, self._shares, sizes),
            batch_size=self.batch_size,
            rows=(index * share, (index + 1) * share),
            seed=schedule.derive_seed(self.seed, self.part),
            shuffle=self.shuffle,
            featurise=self._featurise,
        )

    @property
    def _featurise(self) -> packed_stream.Featurise:
        groups = any(f.name == "targets_groups" for task in self._tasks for f in task.schema)
        if self._manifest.family == "encoder_decoder":
            return functools.partial(rows.encoder_decoder_features, groups=groups)
        return functools.partial(
            rows.decoder_only_features, loss_on_inputs=self.loss_on_inputs, groups=groups
        )

    def _spec(self, row_shape: Mapping[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
        empty: dict[str, np.ndarray] = {
            feature.name: np.zeros(0, np.int32) for task in self._tasks for feature in task.schema
        }
        example = self._featurise([empty], np.ones(1, np.int32), row_shape)
        return {
            name: jax.ShapeDtypeStruct((self.batch_size, value.shape[1]), value.dtype)
            for name, value in example.items()
        }

    @functools.cached_property
    def _manifest(self) -> Manifest:
        return _verified(self, *self._hosts)

    @functools.cached_property
    def _tasks(self) -> tuple[CachedTask, ...]:
        found = {task.name: task for task in self._manifest.tasks(self.split)}
        wanted = self._wanted(found)
        return tuple(found[name] for name in sorted(wanted))

    @functools.cached_property
    def _shares(self) -> dict[str, float]:
        found = {task.name: task for task in self._manifest.tasks(self.split)}
        wanted = self._wanted(found)
        total = sum(wanted.values())
        return {name: share / total for name, share in sorted(wanted.items())}

    def _wanted(self, found: Mapping[str, CachedTask]) -> dict[str, float]:
        chosen = self.mixture_or_task_name
        if chosen is None or chosen == self._manifest.mixture:
            wanted = {name: task.share for name, task in found.items()}
        elif isinstance(chosen, str):
            wanted = {chosen: 1.0}
        else:
            wanted = {name: share for name, share in chosen.items() if share}
        for name in wanted:
            if name not in found:
                raise ConfigError(
                    f"the cache {self.folder} has no task {name!r} in its split {self.split!r}; "
                    f"{nearest(name, found)}"
                )
        if not wanted or min(wanted.values()) <= 0:
            raise ConfigError(f"shares are {wanted}; expected positive numbers")
        return wanted

    @functools.cached_property
    def _hosts(self) -> tuple[int, int]:
        index = jax.process_index() if self.host_index is None else self.host_index
        count = jax.process_count() if self.host_count is None else self.host_count
        if not 0 <= index < count:
            raise ConfigError(f"host_index is {index}, expected 0 <= host_index < {count}")
        return index, count


class CacheIterator:
    """This host's rows, batch after batch; implements `BatchIterator`.

    The position is the number of batches handed out.
    """

    def __init__(self, source: CacheSource):
        """Opens the stream at its beginning."""
        self._source = source
        self._stream = source.stream
        self._number = 0
        self._batches: Iterator[dict[str, np.ndarray]] | None = None

    def __iter__(self) -> "CacheIterator":
        """Returns itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the next host batch.

        Raises:
          ConfigError: a shard cannot be read; the message names it.
        """
        if self._batches is None:
            self._batches = self._open()
        batch = next(self._batches)
        self._number += 1
        return batch

    def seek(self, number: int) -> None:
        """Makes batch `number`, counted from 0, the next one."""
        self._number, self._batches = number, None

    def state(self) -> bytes:
        """Returns the position after the batches handed out so far."""
        return json.dumps({"kind": "cache", "batches": self._number}).encode()

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken.

        Raises:
          ConfigError: `state` is not a position of this kind.
        """
        try:
            position = json.loads(state)
            number = position["batches"] if position["kind"] == "cache" else None
        except (ValueError, KeyError, TypeError) as error:
            number, problem = None, error
        else:
            problem = None
        if not isinstance(number, int) or number < 0:
            raise ConfigError(
                f"data position starts with {state[:20]!r}; expected one of a packed cache: it was "
                "saved by another kind of data set"
            ) from problem
        self.seek(number)

    def _open(self) -> Iterator[dict[str, np.ndarray]]:
        source = self._source
        dataset = grain.MapDataset.source(_From(self._stream, self._number))
        options = grain.ReadOptions(
            num_threads=source.read_threads, prefetch_buffer_size=source.batches_ahead
        )
        batches = dataset.to_iter_dataset(options)
        if source.read_processes:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # Grain's worker processes read flags of its own
            batches = batches.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=source.read_processes,
                    per_worker_buffer_size=-(-source.batches_ahead // source.read_processes),
                )
            )
        return iter(batches)


class _From:
    """The batches of a stream from a number on, as Grain asks for them."""

    def __init__(self, stream: packed_stream.PackedStream, first: int):
        self._stream, self._first = stream, first

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self._stream.batch(self._first + int(index))


def _verified(source: CacheSource, host_index: int, host_count: int) -> Manifest:
    """Returns the manifest after a look at the shards; this host reads its part of them."""
    skip = source.on_bad_shard == "skip"
    found = shards_lib.verify(
        source.folder,
        vocabulary=source.vocabulary,
        checksums=source.checksums and (skip or host_count == 1),
        on_bad_shard=source.on_bad_shard,
    )
    if found.skipped:
        print(
            f"cache {source.folder}: {len(found.skipped)} bad shards skipped, "
            f"{found.skipped_records} records lost: " + "; ".join(found.skipped),
            flush=True,
        )
    if source.checksums and not skip and host_count > 1:
        listed = [s for tasks in found.manifest.splits.values() for t in tasks for s in t.shards]
        for shard in listed[host_index::host_count]:
            problem = shards_lib.shard_problem(pathlib.Path(source.folder), shard)
            if problem:
                raise ConfigError(f"{problem}; make the cache again")
    return found.manifest
