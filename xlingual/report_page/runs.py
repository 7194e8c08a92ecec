"""What the files of a run's folder say, as the sections of a page need it."""

import dataclasses
import functools
import math
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from xlingual.errors import ConfigError
from xlingual.report_page.records import read_json, read_json_lines, read_text
from xlingual.reporting import evaluations

METRICS, RESULTS, CONFIG = "metrics.jsonl", "results.json", "operative_config.gin"
TEXTS = ("source", "reference", "prediction")
"""Keys of a sample, and of a record of details that has texts."""
VOCABULARY = "vocab_report.json"
"""Where `xlingual vocab report --json` is expected to have written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """A number over steps.

    Attributes:
      steps: ascending.
      values: finite, one a step, one or more.
    """

    steps: Sequence[int]
    values: Sequence[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run, or a folder in which a model was evaluated.

    Attributes:
      name: short, unique in a report.
      folder: where its files are.
      metrics: lines of `metrics.jsonl`.
      results: `results.json`.
      rows: of `evaluations.jsonl`, each measurement once.
      samples: of `samples.jsonl`, in the order in which they were written.
      config: the operative configuration.
      vocabulary: `vocab_report.json`.
      problems: lines about files that could not be read.
    """

    name: str
    folder: pathlib.Path
    metrics: Sequence[Mapping[str, Any]] = ()
    results: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    config: str = ""
    vocabulary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def argument(self) -> str:
        """The folder as a word of a command line."""
        return shlex.quote(str(self.folder))

    @functools.cached_property
    def curves(self) -> Mapping[str, Curve]:
        """Every number of `metrics.jsonl` over steps; a later line of a step counts."""
        points: dict[str, dict[int, float]] = {}
        for line in self.metrics:
            step = line.get("step")
            if is_number(step):
                for name, value in line.items():
                    if is_number(value):
                        points.setdefault(name, {})[int(step)] = float(value)
        return {
            name: Curve(steps=steps, values=[of_name[step] for step in steps])
            for name, of_name in points.items()
            for steps in [sorted(of_name)]
        }

    @functools.cached_property
    def last_numbers(self) -> Mapping[str, float]:
        """The latest value of every number of `metrics.jsonl`."""
        return {name: curve.values[-1] for name, curve in self.curves.items()}

    def latest_rows(self) -> list[Mapping[str, Any]]:
        """Returns the rows of the highest step of each evaluator."""
        return _latest(self.rows)

    def latest_samples(self) -> Mapping[tuple[str, str, str], Mapping[str, Any]]:
        """Returns (evaluator, task, source) -> a sample of the highest step of the evaluator."""
        return {
            (str(one["evaluator"]), str(one["task"]), str(one["source"])): one
            for one in _latest(self.samples)
            if all(isinstance(one.get(name), str) for name in ("evaluator", "task", *TEXTS))
        }

    def details(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns what the model did with each example behind a row; none where it was not kept.

        A data set has a file, or one for each direction.
        """
        dataset = str(row["dataset"])
        for name in (dataset, f"{dataset}.{row.get('src_lang')}-{row.get('tgt_lang')}"):
            path = evaluations.details_path(
                self.folder, str(row.get("evaluator")), int(row.get("step") or 0), name
            )
            if path.is_file():
                return read_json_lines(path, self.problems.append)
        return []


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def load_runs(folders: Sequence[str], vocabularies: Sequence[str] = ()) -> list[Run]:
    """Returns runs with names that tell them apart.

    Args:
      folders: of runs.
      vocabularies: files of `xlingual vocab report --json`, one for all runs or one a run; without
        any, `vocab_report.json` of each folder.

    Raises:
      ConfigError: a folder is missing, holds nothing of a run or is named twice, or a vocabulary
        report is missing or one too many.
    """
    paths = [pathlib.Path(folder) for folder in folders]
    if len({path.absolute() for path in paths}) < len(paths):
        raise ConfigError(f"runs {list(folders)}; expected every folder once")
    if len(vocabularies) not in (0, 1, len(paths)):
        raise ConfigError(
            f"--vocab_report names {len(vocabularies)} files for {len(paths)} runs; expected one "
            "for all, or one for each"
        )
    for file in vocabularies:
        if not pathlib.Path(file).is_file():
            raise ConfigError(
                f"--vocab_report={file}: no such file; expected what `xlingual "
                "vocab report VOCABULARY --json=FILE` writes"
            )
    files = [pathlib.Path(file) for file in vocabularies] or [path / VOCABULARY for path in paths]
    files = files * len(paths) if len(files) == 1 else files
    return [
        load_run(path, name=name, vocabulary=file)
        for path, name, file in zip(
            paths, _names([path.absolute() for path in paths]), files, strict=True
        )
    ]


def load_run(path: pathlib.Path, *, name: str, vocabulary: pathlib.Path) -> Run:
    """Returns what a folder says.

    Args:
      path: the folder.
      name: of the run in the report.
      vocabulary: what `xlingual vocab report --json` wrote; may be missing.

    Raises:
      ConfigError: the folder is missing or holds nothing of a run.
    """
    known = (METRICS, RESULTS, evaluations.FILE)
    if not any((path / file).is_file() for file in known):
        found = "a folder without" if path.is_dir() else "no folder with"
        raise ConfigError(
            f"RUN={path}: {found} {', '.join(known)}; expected the MODEL_DIR of a run"
        )
    problems: list[str] = []
    rows = {
        tuple(row.get(key) for key in evaluations.IDENTITY): row
        for row in _valid_rows(path / evaluations.FILE, problems)
    }
    results = read_json(path / RESULTS, problems.append)
    return Run(
        name=name,
        folder=path,
        metrics=read_json_lines(path / METRICS, problems.append),
        results=results,
        rows=list(rows.values()),
        samples=read_json_lines(path / evaluations.SAMPLES, problems.append),
        config=read_text(path / CONFIG, problems.append),
        vocabulary=read_json(vocabulary, problems.append),
        problems=problems,
    )


def _valid_rows(path: pathlib.Path, problems: list[str]) -> Iterable[Mapping[str, Any]]:
    for number, row in enumerate(read_json_lines(path, problems.append), start=1):
        if isinstance(row.get("metric"), str) and is_number(row.get("value")):
            yield row
        else:
            problems.append(
                f"{path}, row {number}: left out; metric={row.get('metric')!r}, "
                f"value={row.get('value')!r}, expected a name and a finite number"
            )


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
    """Returns the last parts of the paths, as many as tell them apart."""
    paths = [path.absolute() for path in paths]
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _latest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the rows of the highest step of each evaluator."""
    steps: dict[Any, float] = {}
    for row in rows:
        key = row.get("evaluator")
        steps[key] = max(steps.get(key, -math.inf), _step(row))
    return [row for row in rows if _step(row) == steps[row.get("evaluator")]]


def _step(row: Mapping[str, Any]) -> float:
    return float(row["step"]) if is_number(row.get("step")) else -1.0
