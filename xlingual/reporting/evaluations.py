"""Results of evaluations on disk: a line a number, and a record an example.

    MODEL_DIR/evaluations.jsonl                              rows of all evaluators and steps
    MODEL_DIR/evaluations/EVALUATOR/STEP/DATASET.jsonl       what the model did with each example
    MODEL_DIR/samples.jsonl                                  a few texts of each, to read

Lines are only ever added. Where a restart or a second evaluation measured something again, the
later line counts.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from xlingual.outputs import Evaluation

FILE, FOLDER, SAMPLES = "evaluations.jsonl", "evaluations", "samples.jsonl"

IDENTITY = (
    "evaluator",
    "metric",
    "dataset",
    "src_lang",
    "tgt_lang",
    "lang",
    "layer",
    "step",
)
"""Keys of a row that say what it measures; of rows that agree in all of them the last counts."""


def append_evaluation(
    folder: str | os.PathLike[str], evaluation: Evaluation, *, header: Mapping[str, Any]
) -> None:
    """Adds the rows and samples of an evaluation, and writes its details; call it on one process.

    Args:
      folder: of the run; made if it is missing.
      evaluation: what an evaluator found.
      header: keys that go in front of every row; `evaluator` and `step` are among them.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for dataset, records in evaluation.details.items():
        path = details_path(folder, str(header["evaluator"]), int(header["step"]), dataset)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text("".join(map(_line, records)), encoding="utf-8")
        os.replace(partial, path)
    _append(folder / FILE, ({**header, **row} for row in evaluation.rows))
    _append(
        folder / SAMPLES,
        (
            {
                "evaluator": header["evaluator"],
                "step": header["step"],
                "task": sample.task,
                "source": sample.source,
                "reference": sample.target,
                "prediction": sample.prediction,
            }
            for sample in evaluation.samples
        ),
    )


def read_evaluations(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the rows of a run, each measurement once, in the order in which they came.

    A line that a crash has cut off is left out.

    Args:
      folder: of the run; without the file it has no rows.
    """
    path = pathlib.Path(folder) / FILE
    if not path.is_file():
        return []
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[tuple(row.get(name) for name in IDENTITY)] = row
    return list(rows.values())


def details_path(
    folder: str | os.PathLike[str], evaluator: str, step: int, dataset: str
) -> pathlib.Path:
    """Returns the file of the details of a data set; other letters of names become `_`."""
    names = [re.sub(r"[^\w.+=-]", "_", name) for name in (evaluator, dataset)]
    return pathlib.Path(folder) / FOLDER / names[0] / str(step) / f"{names[1]}.jsonl"


def read_details(
    folder: str | os.PathLike[str], evaluator: str, step: int, dataset: str
) -> Sequence[dict[str, Any]]:
    """Returns the records of a data set, in order; none where there is no file."""
    path = details_path(folder, evaluator, step, dataset)
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _append(path: pathlib.Path, records: Iterable[Mapping[str, Any]]) -> None:
    lines = "".join(map(_line, records))
    if lines:
        with _whole_lines(path) as file:
            file.write(lines.encode("utf-8"))


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(dict(record), ensure_ascii=False, allow_nan=False) + "\n"


def _whole_lines(path: pathlib.Path) -> BinaryIO:
    """Opens a file to append to; what a crash has cut off gets a line of its own."""
    file = path.open("a+b")
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file
