"""Training batches from a cache: no TensorFlow, an exact position, and any step at once.

`CacheSource` takes the place of `SeqioSource` in a run. Grain reads ahead, in threads or processes.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from xlingual.cache import packed_stream, packing, schedule
from xlingual.cache import rows as rows_lib
from xlingual.cache import shards as shards_lib
from xlingual.cache.manifest import CachedTask, Manifest
from xlingual.data import tokenised_stream
from xlingual.data.base import TaskInfo
from xlingual.data.cached_iterator import CacheIterator, ReadAhead
from xlingual.errors import ConfigError, nearest


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
      family: of models, `encoder_decoder` or `decoder_only`; None for that of a packed cache.
      row_shapes: task, objective or `*` -> lengths of `inputs` and `targets` of its rows, where a
        tokenised cache declares none or others are wanted.
      loss_on_inputs: decoder-only models: weight 1 on input tokens too.
      vocabulary: what the cache must have been made with, as its manifest says it; None for any.
      checksums: whether the run starts with a look at the contents of all shards; hosts share the
        work. False compares sizes alone.
      on_bad_shard: `raise`, or `skip`: leave bad shards out, count them and say so.
      read_threads: threads that make batches ahead.
      read_processes: processes that do, instead of threads; 0 for none.
      batches_ahead: batches that are ready before they are asked for.
      row_counts_folder: where `seek` keeps how many rows the windows of a tokenised cache give;
        empty for memory alone.
      host_index: this host, for checksums and where no rows are asked for; None asks JAX.
      host_count: number of hosts; None asks JAX.
    """

    folder: str
    batch_size: int
    mixture_or_task_name: str | Mapping[str, float] | None = None
    split: str = "train"
    seed: int = 0
    shuffle: bool = True
    part: int = 0
    family: str | None = None
    row_shapes: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    loss_on_inputs: bool = False
    vocabulary: str | None = None
    checksums: bool = True
    on_bad_shard: Literal["raise", "skip"] = "raise"
    read_threads: int = 2
    read_processes: int = 0
    batches_ahead: int = 8
    row_counts_folder: str = ""
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
        return tuple(self._spec(group.row_shape) for group in self._plan.groups)

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
            "task_feature_lengths": self._shapes,
            "batch_size": self.batch_size,
            "split": self.split,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "num_records": {task.name: task.num_records for task in self._tasks},
            "cache": schedule.derive_seed(
                *(shard.sha256 for task in self._tasks for shard in task.shards)
            ),
        }

    def iterator(self, rows: np.ndarray | None = None) -> "CacheIterator":
        """Opens the stream at its beginning.

        Args:
          rows: [host_batch] int64, ascending: the rows of every global batch that this host
            supplies; None for an equal part of the batch.

        Raises:
          ConfigError: as `tasks`; a batch that does not divide over the hosts; an objective of a
            tokenised cache that cannot be applied without TensorFlow.
        """
        mine = self._rows if rows is None else rows
        stream = self.stream(mine) if self.is_packed else self.lanes(mine)
        ahead = ReadAhead(
            threads=self.read_threads, processes=self.read_processes, batches=self.batches_ahead
        )
        return CacheIterator(stream, ahead)

    @property
    def num_shards(self) -> int:
        """Blocks of rows that are streams of their own: one, as any rows may be asked for."""
        return 1

    def open_shard(self, shard: int) -> "CacheIterator":
        """Opens the stream of all rows at its beginning, as `StagedSource` asks for it."""
        del shard
        return self.iterator(np.arange(self.batch_size))

    def declared_shares(self, steps: int) -> Mapping[str, float]:
        """Returns task name -> declared share of any number of steps."""
        del steps
        return self._shares

    def stream(self, rows: np.ndarray | None = None) -> "packed_stream.PackedStream":
        """Returns the batches of a packed cache by their numbers; `rows` as for `iterator`.

        Raises:
          ConfigError: as `iterator`, and a cache that is not packed.
        """
        if self._manifest.mode != "packed":
            raise ConfigError(f"the cache {self.folder} is tokenised; its batches have no numbers")
        return packed_stream.PackedStream(
            folder=self.path,
            tasks=self._tasks,
            plan=self._plan,
            batch_size=self.batch_size,
            rows=self._rows if rows is None else rows,
            seed=schedule.derive_seed(self.seed, self.part),
            shuffle=self.shuffle,
            featurise=self._featurise,
        )

    def lanes(self, rows: np.ndarray) -> tokenised_stream.TokenisedStream:
        """Returns the rows of a tokenised cache; `rows` as for `iterator`."""
        return tokenised_stream.TokenisedStream(
            tasks=self._twin_tasks,
            plan=self._plan,
            batch_size=self.batch_size,
            rows=rows,
            family=self._family,
            featurise=self._featurise,
            row_counts_folder=self.row_counts_folder,
            identity=[self.fingerprint(), self._family, self.part, self._manifest.code_version],
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of the cache."""
        return tuple(self._manifest.splits)

    @property
    def path(self) -> pathlib.Path:
        """The cache."""
        return pathlib.Path(self.folder)

    @property
    def is_packed(self) -> bool:
        """Whether the cache holds rows; else tokenised records."""
        return self._manifest.mode == "packed"

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        index, count = self._hosts
        if self.batch_size % count:
            raise ConfigError(f"batch_size={self.batch_size} does not divide over {count} hosts")
        share = self.batch_size // count
        return np.arange(index * share, (index + 1) * share)

    @functools.cached_property
    def _plan(self) -> packed_stream.Plan:
        unit = self._manifest.share_unit
        if self.is_packed:
            sizes = packed_stream.mean_sizes(self._tasks, unit)
            return packed_stream.make_plan(self._shapes, self._shares, sizes)
        return tokenised_stream.make_plan(self._twin_tasks, self._shares, unit, self._family)

    @functools.cached_property
    def _twin_tasks(self) -> tuple[tokenised_stream.TwinTask, ...]:
        found = tuple(
            tokenised_stream.TwinTask(
                folder=self.path,
                task=task,
                row_shape=self._shapes[task.name],
                seed=schedule.derive_seed(self.seed, self.part, task.name),
                shuffle=self.shuffle,
            )
            for task in self._tasks
        )
        for task in found:
            task.check()
        return found

    @functools.cached_property
    def _shapes(self) -> dict[str, dict[str, int]]:
        """Task name -> its row shape."""
        if self.is_packed and self.row_shapes:
            raise ConfigError(f"row_shapes are given, but the rows of {self.folder} are packed")
        found = {}
        for task in self._tasks:
            given = [
                self.row_shapes[key]
                for key in (task.name, task.objective, "*")
                if key in self.row_shapes
            ]
            shape = dict(given[0] if given else task.row_shape)
            if not shape:
                raise ConfigError(
                    f"task {task.name!r} ({task.objective}) has no row shape in the cache "
                    f"{self.folder}; expected row_shapes to name it, its objective or '*'"
                )
            found[task.name] = shape
        return found

    @functools.cached_property
    def _family(self) -> str:
        known = self._manifest.family
        family = self.family or known
        if family not in packing.FAMILIES or (known and family != known):
            raise ConfigError(
                f"family is {self.family!r}; expected {known!r}, for which the cache was packed"
                if known
                else f"family is {self.family!r}; expected one of {', '.join(packing.FAMILIES)}"
            )
        return family

    @property
    def _featurise(self) -> packed_stream.Featurise:
        if self.is_packed:
            groups = any(f.name == "targets_groups" for task in self._tasks for f in task.schema)
        else:
            groups = any("targets_groups" in task.examples(0) for task in self._twin_tasks)
        if self._family == "encoder_decoder":
            return functools.partial(rows_lib.encoder_decoder_features, groups=groups)
        return functools.partial(
            rows_lib.decoder_only_features, loss_on_inputs=self.loss_on_inputs, groups=groups
        )

    def _spec(self, row_shape: Mapping[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
        empty = {feature.name: np.zeros(0, np.int32) for feature in rows_lib.row_schema()}
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
