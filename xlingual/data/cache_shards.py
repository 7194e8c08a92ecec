"""The unit of work of a cache job: one shard, made from its own part of the records and no other.

A shard is a function of its `ShardWork`, the data and the code, so it does not matter which worker
makes it, when, or how often. It is written under another name first and then renamed, and a record
that it is done follows: a job that was killed finds those and makes the others.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from xlingual.cache import codec, packing, rows
from xlingual.cache import shards as shards_lib
from xlingual.cache.codec import Feature
from xlingual.cache.manifest import Counts, Mode, Shard, shard_path, summed
from xlingual.data import cache_examples
from xlingual.errors import ConfigError

PROGRESS_FOLDER = ".progress"
"""Where a job that is not finished keeps what it did so far."""
_ERRORS = "errors"
_SIDES = {"inputs": ("src", "pivot"), "targets": ("targets", "tgt")}
"""Fields of tokenised records that count as inputs and as targets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardWork:
    """All that a worker must know to make one shard.

    Attributes:
      root: folder of the cache.
      split: of the source.
      task: registered name.
      index: of the shard, in [0, num_shards).
      num_shards: of the task.
      mode: `tokenised` or `packed`.
      family: of models; `packed` only.
      row_shape: of the task's rows; `packed` only.
      packing: name of the algorithm, and its options.
      seed: of the objective's noise.
    """

    root: str
    split: str
    task: str
    index: int
    num_shards: int
    mode: Mode
    family: str = ""
    row_shape: Mapping[str, int] = dataclasses.field(default_factory=dict)
    packing: tuple[str, Mapping[str, Any]] = ("best_fit", {})
    seed: int = 0

    @property
    def path(self) -> str:
        """Path of the shard, relative to the cache."""
        return shard_path(self.split, self.task, self.index, self.num_shards)

    @property
    def progress_file(self) -> pathlib.Path:
        """Where it is noted that the shard is done."""
        return pathlib.Path(self.root) / PROGRESS_FOLDER / f"{self.path}.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoneShard:
    """A finished shard.

    Attributes:
      shard: its file.
      schema: of its records.
      counts: of its records.
    """

    shard: Shard
    schema: tuple[Feature, ...]
    counts: Counts


def make_shard(work: ShardWork) -> DoneShard:
    """Makes one shard and notes that it is done; both in one step each.

    Raises:
      ConfigError: the records, the task or the disk fail. The message is also left for
        `first_error`, because not every runner hands errors on.
    """
    try:
        return _make_shard(work)
    except ConfigError as error:
        note = pathlib.Path(work.root) / PROGRESS_FOLDER / _ERRORS / f"{work.path}.txt"
        with contextlib.suppress(ConfigError):  # the disk may be what failed
            shards_lib.write_text(note, str(error))
        raise


def first_error(root: pathlib.Path) -> str | None:
    """Returns the message of the first shard, by name, that could not be made; None if none."""
    notes = sorted((root / PROGRESS_FOLDER / _ERRORS).rglob("*.txt"))
    return notes[0].read_text(encoding="utf-8") if notes else None


def clear_errors(root: pathlib.Path) -> None:
    """Forgets the errors of an earlier run."""
    for note in (root / PROGRESS_FOLDER / _ERRORS).rglob("*.txt"):
        note.unlink()


def load_done(work: ShardWork) -> DoneShard | None:
    """Returns a finished shard as it was noted; None if it is not done, or its file is gone.

    Raises:
      ConfigError: the file is not the one that was written; the message names it.
    """
    try:
        fields = json.loads(work.progress_file.read_text(encoding="utf-8"))
        done = DoneShard(
            shard=Shard(**fields["shard"]),
            schema=tuple(Feature(**feature) for feature in fields["schema"]),
            counts=Counts(**fields["counts"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{work.progress_file} is no note of a finished shard ({error}); delete it to have the "
            "shard made again"
        ) from error
    root = pathlib.Path(work.root)
    if not (root / work.path).exists():
        return None
    problem = shards_lib.shard_problem(root, done.shard)
    if problem:
        raise ConfigError(
            f"{problem.replace('the manifest', 'the note of the job')}; delete it to have it made "
            "again"
        )
    return done


def _make_shard(work: ShardWork) -> DoneShard:
    task = seqio.TaskRegistry.get(work.task)
    records = cache_examples.shard_of_records(task, work.split, work.index, work.num_shards)
    counts: list[Counts] = []
    if work.mode == "tokenised":
        schema, examples = cache_examples.tokenised_examples(task, records)
        encoded = _tokenised(examples, schema, counts)
    else:
        optional, examples = cache_examples.packed_examples(
            task, records, work.row_shape, seed=work.seed, shard_index=work.index
        )
        schema = rows.row_schema(optional)
        encoded = _packed(work, examples, schema, counts)
    try:
        shard = shards_lib.write_shard(pathlib.Path(work.root), work.path, encoded)
    except ConfigError as error:
        named = f"task {work.task!r}"
        raise error if named in str(error) else ConfigError(f"{named}: {error}") from error
    done = DoneShard(shard=shard, schema=schema, counts=summed(counts))
    text = json.dumps(dataclasses.asdict(done), indent=1, sort_keys=True) + "\n"
    shards_lib.write_text(work.progress_file, text)
    return done


def _tokenised(
    examples: Iterator[cache_examples.Example], schema: Sequence[Feature], counts: list[Counts]
) -> Iterator[bytes]:
    names = {feature.name for feature in schema if feature.dtype == "int32"}
    sides = {side: [n for n in fields if n in names] for side, fields in _SIDES.items()}
    number = inputs = targets = 0
    for example in examples:
        number += 1
        inputs += sum(len(example[name]) for name in sides["inputs"])
        targets += sum(len(example[name]) for name in sides["targets"])
        yield codec.encode(example, schema)
    counts.append(Counts(examples=number, input_tokens=inputs, target_tokens=targets))


def _packed(
    work: ShardWork,
    examples: Iterator[cache_examples.Example],
    schema: Sequence[Feature],
    counts: list[Counts],
) -> Iterator[bytes]:
    name, options = work.packing
    room = packing.Room(family=work.family, row_shape=work.row_shape)
    weight_of_class = np.array(rows.TARGET_WEIGHT_OF_CLASS)
    total = Counts()
    for chosen in packing.make_packer(name, **options).rows(examples, room):
        weights = [weight_of_class[example["targets_weights"]].sum() for example in chosen]
        row = rows.make_row(chosen, schema)
        total += Counts(
            examples=len(chosen),
            input_tokens=len(row["inputs"]),
            target_tokens=len(row["targets"]),
            weighted_targets=float(sum(weights)),
            room=sum(room.limits),
        )
        yield codec.encode(row, schema)
    counts.append(total)
