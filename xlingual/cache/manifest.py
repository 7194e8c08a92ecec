"""What a packed cache holds: the file `manifest.json` at its top.

    CACHE/manifest.json
    CACHE/SPLIT/TASK/shard-00000-of-00008.array_record     (a record an example, or a packed row)

The manifest is written last: a folder without one is no cache yet. It names every shard with its
records, bytes and SHA-256, so that a shard that is missing, cut short, changed or added is found.

Modes:

* `tokenised`: a record is what the task's deterministic preprocessors make of one source record:
  `{targets, lang}` of monolingual text, `{src, tgt, src_lang, tgt_lang}` of a pair, ids without
  EOS. The objective is applied as the record is read. Objectives that tokenise text themselves get
  it as it is: `{text, lang}`.
* `packed`: a record is one row of several examples with the objective applied; `rows.py` says what
  its features are and makes model features of them.

A task's rows hold examples of that task alone. So records carry no task id, and the reader may mix
tasks in any shares; those that the mixture declares are in the manifest.
"""

import dataclasses
import json
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from xlingual.cache.codec import Feature
from xlingual.errors import ConfigError

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SHARD_SUFFIX = ".array_record"
Mode = Literal["tokenised", "packed"]
MODES: tuple[Mode, ...] = ("tokenised", "packed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One ArrayRecord file.

    Attributes:
      path: relative to the cache, with `/`.
      num_records: examples or rows in it; may be 0.
      num_bytes: size of the file.
      sha256: of the file, 64 hex digits.
    """

    path: str
    num_records: int
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What some records hold; counts add up.

    Attributes:
      examples: examples: of packed rows, the segments in them.
      input_tokens: tokens of `inputs`, EOS included; in mode `tokenised`, of `src` (and `pivot`).
      target_tokens: tokens of `targets`, EOS included; in mode `tokenised`, of `targets` or `tgt`.
      weighted_targets: sum of the loss weights of the targets; 0 in mode `tokenised`.
      room: tokens that the rows could hold, the lengths of their shape added up; 0 in mode
        `tokenised`.
    """

    examples: int = 0
    input_tokens: int = 0
    target_tokens: int = 0
    weighted_targets: float = 0.0
    room: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Returns the sum, field by field."""
        others = vars(other)
        return Counts(**{name: value + others[name] for name, value in vars(self).items()})

    @property
    def tokens(self) -> int:
        """Tokens of inputs and targets."""
        return self.input_tokens + self.target_tokens

    @property
    def fill(self) -> float:
        """Share of the rows' room that holds tokens; 1 where there are no rows."""
        return self.tokens / self.room if self.room else 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CachedTask:
    """One task of one split.

    Attributes:
      name: registered task name.
      objective: e.g. `translation`; empty when unknown.
      src_lang: language of the inputs; empty when it does not apply.
      tgt_lang: language of the targets; empty when it does not apply.
      share: of the mixture, in `Manifest.share_unit`; the shares of a split sum to one.
      row_shape: `inputs` and `targets` -> row length in tokens, of packed rows; in mode
        `tokenised` those that the mixture declares for this task, empty if none.
      recipe: what a reader of tokenised records must know of the objective (`data.recipes`); empty
        in mode `packed`, and where a reader cannot apply the objective.
      schema: features of a record, in stored order.
      counts: what all its shards hold.
      shards: in order; record i of the task is record i of their concatenation.
    """

    name: str
    objective: str = ""
    src_lang: str = ""
    tgt_lang: str = ""
    share: float = 1.0
    row_shape: Mapping[str, int] = dataclasses.field(default_factory=dict)
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schema: tuple[Feature, ...]
    counts: Counts
    shards: tuple[Shard, ...]

    @property
    def num_records(self) -> int:
        """Records of all shards."""
        return sum(shard.num_records for shard in self.shards)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that is known of a cache.

    Attributes:
      mixture: name of the mixture or task.
      mode: `tokenised` or `packed`.
      family: `encoder_decoder` or `decoder_only`, which decides how rows are packed; in mode
        `tokenised` empty.
      share_unit: what shares count: `tokens` (weighted target tokens) or `examples`.
      splits: split -> its tasks, sorted by name; task i has id i + 1.
      vocabulary: what identifies the vocabulary, e.g. `sha256:...`.
      vocab_size: ids are below it.
      special_tokens: fields of `xlingual.objectives.special_tokens.SpecialTokens`; empty when the
        vocabulary tells none.
      code_version: of the code that wrote the cache.
      settings: all that decides the bytes beside code and data, as JSON types.
      format_version: of the layout.
    """

    mixture: str
    mode: Mode
    family: str = ""
    share_unit: str = "tokens"
    splits: Mapping[str, tuple[CachedTask, ...]]
    vocabulary: str
    vocab_size: int
    code_version: str
    special_tokens: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def tasks(self, split: str) -> tuple[CachedTask, ...]:
        """Returns the tasks of a split.

        Raises:
          ConfigError: the cache has no such split; the message lists those it has.
        """
        if split not in self.splits:
            raise ConfigError(
                f"the cache of {self.mixture!r} has no split {split!r}, only {sorted(self.splits)}"
            )
        return self.splits[split]

    def counts_by(self, key: Literal["objective", "language"], split: str) -> dict[str, Counts]:
        """Returns counts by objective, or by language (`src-tgt` of pairs), sorted by name."""
        found: dict[str, Counts] = {}
        for task in self.tasks(split):
            name = task.objective if key == "objective" else _language(task)
            found[name] = found.get(name, Counts()) + task.counts
        return dict(sorted(found.items()))


def dump_manifest(manifest: Manifest) -> str:
    """Returns the text of `manifest.json`: the fields, and `totals` for people."""
    fields = dataclasses.asdict(manifest)
    fields["totals"] = {
        split: {
            key: {
                name: dataclasses.asdict(counts)
                for name, counts in manifest.counts_by(key, split).items()  # type: ignore[arg-type]
            }
            for key in ("objective", "language")
        }
        for split in manifest.splits
    }
    return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def load_manifest(folder: str | pathlib.Path) -> Manifest:
    """Returns the manifest of a cache; looks at no shard (`shards.verify` does).

    Args:
      folder: the cache.

    Raises:
      ConfigError: there is no manifest, it is no JSON of this layout, or of another version.
    """
    path = pathlib.Path(folder) / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); expected a finished cache (`xlingual "
            "cache` writes the manifest last, and continues when it is started again)"
        ) from error
    try:
        return parse_manifest(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no manifest of a cache: {error}") from error


def parse_manifest(text: str) -> Manifest:
    """Returns the manifest that `dump_manifest` wrote.

    Raises:
      ConfigError: another format version, or names of tasks or shards given twice.
      ValueError, KeyError, TypeError: the text has another layout.
    """
    fields = json.loads(text)
    version = fields.get("format_version")
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"format_version is {version!r}; this code reads {FORMAT_VERSION}: make the cache again"
        )
    fields.pop("totals", None)
    splits = {
        split: tuple(_task(task) for task in tasks) for split, tasks in fields.pop("splits").items()
    }
    _check_unique([task.name for task in tasks] for tasks in splits.values())
    _check_unique([[s.path for tasks in splits.values() for t in tasks for s in t.shards]])
    return Manifest(splits=splits, **fields)


def shard_path(split: str, task: str, index: int, num_shards: int) -> str:
    """Returns the path of a shard relative to the cache."""
    return f"{split}/{_folder(task)}/shard-{index:05d}-of-{num_shards:05d}{SHARD_SUFFIX}"


def summed(counts: Sequence[Counts]) -> Counts:
    """Returns the sum of counts."""
    return sum(counts, Counts())


def _folder(task: str) -> str:
    """Returns a task's name as a folder's; SeqIO allows `:` in names, some file systems do not."""
    return task.replace(":", "%3A")


def _task(fields: dict[str, Any]) -> CachedTask:
    return CachedTask(
        **{
            **fields,
            "schema": tuple(Feature(**feature) for feature in fields["schema"]),
            "counts": Counts(**fields["counts"]),
            "shards": tuple(Shard(**shard) for shard in fields["shards"]),
        }
    )


def _check_unique(groups: Any) -> None:
    for names in groups:
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ConfigError(f"{twice[0]!r} is listed twice")


def _language(task: CachedTask) -> str:
    langs = [lang for lang in (task.src_lang, task.tgt_lang) if lang]
    return "-".join(langs) if len(set(langs)) > 1 else "".join(langs[:1])
