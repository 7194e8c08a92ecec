"""The join of bilingual corpora as an Apache Beam pipeline, for one machine or a cluster.

Tables go in, `multi.jsonl` and one table a direction come out; the rules are in `pivot_join.py`.
The output is sorted and the same for every runner and number of workers. Needs the extra `beam`.
"""

import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from xlingual.data import pivot_join
from xlingual.data.pivot_join import JoinRules, Link
from xlingual.errors import ConfigError

DEFAULT_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Beam's runner on this machine, under the name that never starts another program."""
_COUNTERS = (
    "rows of inputs",
    "rows of exclude",
    "bad lines",
    "keys too short or long",
    "links excluded",
    "groups",
    "pairs",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JoinFiles:
    """What a join reads and writes.

    Attributes:
      inputs: patterns of tab-separated tables with a header of language codes, one of them the
        pivot; `.gz` is decompressed.
      exclude: patterns of evaluation tables; what any of their columns holds is left out.
      output: folder to write, which must be empty or new.
      num_shards: files an output is cut into, by ranges of its hashes.
      max_pairs: pairs a direction, by smallest hash; None keeps all.
    """

    inputs: Sequence[str]
    output: str
    exclude: Sequence[str] = ()
    num_shards: int = 1
    max_pairs: int | None = None


def run(files: JoinFiles, rules: JoinRules, beam_options: Sequence[str] = ()) -> dict[str, int]:
    """Joins corpora; returns counts by name, empty where the runner tells none.

    Args:
      files: what is read and written.
      rules: how sentences are joined.
      beam_options: flags of Beam, e.g. `["--runner=DataflowRunner"]`.

    Raises:
      ConfigError: a file is missing or has no usable header, a setting is out of range, or the
        output folder is not empty.
    """
    for name, value in (("num_shards", files.num_shards), ("max_pairs", files.max_pairs)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; expected at least 1")
    inputs = _headers(files.inputs, rules.pivot)
    excluded = _headers(files.exclude, None)
    if not inputs:
        raise ConfigError("inputs is empty; expected tables with a header of language codes")
    pattern = FileSystems.join(files.output, "*")
    if FileSystems.match([pattern])[0].metadata_list:
        raise ConfigError(
            f"output folder {files.output} is not empty; expected an empty or new one"
        )
    flags = list(beam_options)
    if not any(flag.startswith("--runner") for flag in flags):
        flags.append(f"--runner={DEFAULT_RUNNER}")
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
    links = _read_all(pipeline, inputs, "inputs") | "Links" >> beam.ParDo(_ToLinks(rules))
    if excluded:
        hashes = _read_all(pipeline, excluded, "exclude") | "Cells" >> beam.FlatMap(_exclusions)
        links = _exclude(links, hashes, "text")
        links = _exclude(links, hashes, "pivot")
    _write(_join(links, rules), files, rules)
    result = pipeline.run()
    result.wait_until_finish()
    return _counts(result)


def _headers(patterns: Sequence[str], pivot: str | None) -> dict[str, list[str]]:
    """Returns path -> language codes of every file that the patterns name."""
    found = {}
    for pattern in patterns:
        matches = FileSystems.match([pattern])[0].metadata_list
        if not matches:
            raise ConfigError(f"no file matches {pattern}")
        for match in matches:
            with FileSystems.open(match.path) as file:
                line = file.readline()
            header = line.decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")
            usable = len(header) > 1 or (pivot is None and header != [""])
            if not usable or len(set(header)) < len(header):
                raise ConfigError(
                    f"{match.path} begins with {header}; expected a header of distinct language "
                    "codes separated by tabs"
                )
            if pivot is not None and pivot not in header:
                raise ConfigError(f"{match.path} has the languages {header}; expected {pivot!r}")
            found[match.path] = header
    return dict(sorted(found.items()))


def _read_all(pipeline: beam.Pipeline, headers: dict[str, list[str]], name: str) -> Any:
    """Returns rows (path, {language: text})."""
    tables = []
    for path, header in headers.items():
        lines = pipeline | f"Read {name} {path}" >> beam.io.ReadFromText(
            path, skip_header_lines=1, coder=beam.coders.BytesCoder()
        )
        tables.append(lines | f"Parse {name} {path}" >> beam.ParDo(_Parse(path, header, name)))
    return tables | f"All {name}" >> beam.Flatten()


class _Parse(beam.DoFn):  # type: ignore[misc]
    """Makes rows of lines; those with another number of cells or bad UTF-8 are counted."""

    def __init__(self, path: str, header: list[str], name: str):
        self._path, self._header = path, header
        self._rows = Metrics.counter("pivot_join", f"rows of {name}")
        self._bad = Metrics.counter("pivot_join", "bad lines")

    def process(self, line: bytes) -> Iterator[tuple[str, dict[str, str]]]:
        try:
            cells = line.decode("utf-8").rstrip("\r").split("\t")
        except UnicodeDecodeError:
            cells = []
        if len(cells) != len(self._header):
            self._bad.inc()
            return
        self._rows.inc()
        yield (
            self._path,
            {lang: text.strip() for lang, text in zip(self._header, cells, strict=True)},
        )


class _ToLinks(beam.DoFn):  # type: ignore[misc]
    """Makes links of rows whose pivot sentence can be joined."""

    def __init__(self, rules: JoinRules):
        self._rules = rules
        self._short = Metrics.counter("pivot_join", "keys too short or long")

    def process(self, row: tuple[str, dict[str, str]]) -> Iterator[Link]:
        path, texts = row
        pivot = texts[self._rules.pivot]
        if not pivot:
            return
        if not pivot_join.is_joinable(
            pivot_join.join_key(pivot, loose=self._rules.loose), self._rules
        ):
            self._short.inc()
            return
        for lang, text in texts.items():
            if text and lang != self._rules.pivot:
                yield Link(pivot, lang, text, path)


def _exclusions(row: tuple[str, dict[str, str]]) -> list[tuple[str, bool]]:
    return [(pivot_join.exclusion_hash(text), True) for text in row[1].values() if text]


def _exclude(links: Any, hashes: Any, side: str) -> Any:
    """Returns the links whose `side` (`text` or `pivot`) is in no evaluation set."""

    def key(link: Link) -> tuple[str, Link]:
        return pivot_join.exclusion_hash(getattr(link, side)), link

    def keep(element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Link]:
        groups = element[1]
        if any(True for _ in groups["excluded"]):
            Metrics.counter("pivot_join", "links excluded").inc(sum(1 for _ in groups["links"]))
            return
        yield from groups["links"]

    keyed = links | f"Key by {side}" >> beam.Map(key)
    both = {"links": keyed, "excluded": hashes} | f"Meet by {side}" >> beam.CoGroupByKey()
    return both | f"Keep by {side}" >> beam.FlatMap(keep)


def _join(links: Any, rules: JoinRules) -> Any:
    """Returns the groups of links that have one key."""

    def key(link: Link) -> tuple[str, Link]:
        return pivot_join.hash_of_key(pivot_join.join_key(link.pivot, loose=rules.loose)), link

    return (
        links
        | "Key" >> beam.Map(key)
        | "Group" >> beam.GroupByKey()
        | "Make groups" >> beam.MapTuple(pivot_join.make_group)
        | "Keep joined" >> beam.Filter(lambda g: len(g.texts) > 1 or rules.include_pivot)
    )


def _write(groups: Any, files: JoinFiles, rules: JoinRules) -> None:
    """Writes groups and their pairs."""

    def as_line(group: pivot_join.Group) -> tuple[str, tuple[str, str]]:
        line = json.dumps(group.as_record(rules.pivot), ensure_ascii=False, sort_keys=True)
        return _shard(group.id, files.num_shards), (group.id, line)

    def directed(group: pivot_join.Group) -> Iterator[tuple[str, tuple[str, str, str]]]:
        for source, target, pair in pivot_join.pairs_of(group, rules):
            yield f"{source}\t{target}", pair

    def by_file(direction: str, pair: tuple[str, str, str]) -> tuple[str, tuple[str, str, str]]:
        return f"{direction}\t{_shard(pair[0], files.num_shards)}", pair

    _ = (
        groups
        | "Lines" >> beam.Map(as_line)
        | "Group lines" >> beam.GroupByKey()
        | "Write groups" >> beam.ParDo(_WriteGroups(files.output))
    )
    pairs = groups | "Pairs" >> beam.FlatMap(directed) | "Without duplicates" >> beam.Distinct()
    if files.max_pairs is not None:
        pairs = (
            pairs
            | "Smallest" >> beam.combiners.Top.SmallestPerKey(files.max_pairs)
            | "Each" >> beam.FlatMapTuple(lambda key, kept: [(key, pair) for pair in kept])
        )
    _ = (
        pairs
        | "By file" >> beam.MapTuple(by_file)
        | "Group pairs" >> beam.GroupByKey()
        | "Write pairs" >> beam.ParDo(_WritePairs(files.output))
    )


class _WriteGroups(beam.DoFn):  # type: ignore[misc]
    def __init__(self, folder: str):
        self._folder = folder
        self._groups = Metrics.counter("pivot_join", "groups")

    def process(self, element: tuple[str, Iterable[tuple[str, str]]]) -> None:
        shard, lines = element
        ordered = [line for _, line in sorted(lines)]
        self._groups.inc(len(ordered))
        _write_lines(FileSystems.join(self._folder, f"multi{shard}.jsonl"), ordered)


class _WritePairs(beam.DoFn):  # type: ignore[misc]
    def __init__(self, folder: str):
        self._folder = folder

    def process(self, element: tuple[str, Iterable[tuple[str, str, str]]]) -> None:
        key, pairs = element
        source, target, shard = key.split("\t")
        ordered = sorted(pairs)
        Metrics.counter("pivot_join", "pairs").inc(len(ordered))
        lines = [f"{source}\t{target}", *(f"{x}\t{y}" for _, x, y in ordered)]
        _write_lines(FileSystems.join(self._folder, f"{source}-{target}{shard}.tsv"), lines)


def _shard(digest: str, num_shards: int) -> str:
    """Returns the part of a file's name for a hash in hex; empty if there is one file."""
    if num_shards == 1:
        return ""
    return f"-{int(digest[:16], 16) * num_shards >> 64:05d}-of-{num_shards:05d}"


def _write_lines(path: str, lines: Sequence[str]) -> None:
    """Writes a file in one atomic step, for a bundle may be tried twice."""
    folder = FileSystems.split(path)[0]
    try:
        FileSystems.mkdirs(folder)
    except OSError:  # another worker was first
        logging.debug("folder %s exists", folder)
    temporary = f"{path}.{id(lines):x}.tmp"
    with FileSystems.create(
        temporary, "application/octet-stream", CompressionTypes.UNCOMPRESSED
    ) as file:
        for line in lines:
            file.write(f"{line}\n".encode())
    if FileSystems.exists(path):
        FileSystems.delete([path])
    FileSystems.rename([temporary], [path])


def _counts(result: Any) -> dict[str, int]:
    try:
        counters = result.metrics().query()["counters"]
    except (AttributeError, NotImplementedError, KeyError):
        return {}
    found: dict[str, int] = {}
    for counter in counters:  # one a step, and so several of one name
        name = counter.key.metric.name
        found[name] = found.get(name, 0) + counter.result
    return {name: found[name] for name in _COUNTERS if name in found}
