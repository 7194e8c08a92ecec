"""Tasks over a folder of plain files: parallel tables, text and code, English as the pivot.

`register_folder` reads the layout

    parallel/NAME.train.tsv.gz   NAME.valid.tsv.gz    a header of language codes, a row a sentence
    mono/LANG.txt.gz             LANG.valid.txt.gz    a sentence or paragraph a line
    code/NAME.train.jsonl.gz     NAME.valid.jsonl.gz  objects with nl, lang, code, pl

and registers span corruption, denoising and language modelling per language, translation
`xx <-> en` and pivot translation (PTLM) `xx <-> en` and `en <-> code`, each one direction a task,
and `xx -> yy` for zero-shot evaluation. The vocabulary is trained from the train files on first
use.
"""

import collections
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tasks import file_tasks
from tasks.file_tasks import FileMixture, FileTask
from xlingual.errors import ConfigError
from xlingual.objectives import denoising

PIVOT = "en"
SPLITS = {"train": "train", "validation": "valid"}
"""Split -> the word for it in file names."""
COLUMNS = {"en": "eng_Latn", "de": "deu_Latn", "fr": "fra_Latn", "cs": "ces_Latn", "ha": "hau_Latn"}
"""Language code -> its name in headers and file names."""
PAIRS = {
    "de": ("multi30k",),
    "fr": ("multi30k",),
    "cs": ("multi30k",),
    "ha": ("mafand.hau_Latn-eng_Latn",),
}
"""Language -> parallel files that pair it with English."""
CODE = {"python": ("mbxp", "conala"), "javascript": ("mbxp",)}
"""Programming language -> files that describe its functions in English."""
MULTIWAY = "multi30k"
"""Parallel files that several languages share: their validation split gives zero-shot pairs."""
MAX_VOCABULARY_TEXTS = 20_000
_TEXT_OBJECTIVES: dict[str, dict[str, Any]] = {
    "span_corruption": {},
    "prefix_lm": {},
    "causal_lm": {"form": "packed"},
    "dot_denoise": denoising.STRONG_NOISE,
}
"""Objective on the text of one language -> its options."""
_PAIR_OPTIONS: dict[str, dict[str, Any]] = {
    "translation": {"direction": "fwd"},
    "ptlm": {"direction": "fwd", "pivot_lang": PIVOT, "max_length_ratio": None},
}
"""Objective on one direction -> its options."""
_SHARES = {
    "files_pretrain": {
        "span_corruption": 0.3,
        "dot_denoise": 0.1,
        "translation": 0.4,
        "ptlm": 0.2,
    },
    "files_decoder_pretrain": {
        "causal_lm": 0.3,
        "dot_denoise": 0.1,
        "translation": 0.4,
        "ptlm": 0.2,
    },
}
"""Mixture -> objective -> share, split evenly over its tasks."""


def register_folder(data_dir: str, vocab_size: int = 8192) -> str:
    """Registers all tasks and mixtures of a folder, names beginning with `files_`.

    Mixtures: `files_pretrain`, `files_decoder_pretrain`, `files_evaluation` (trained directions and
    a sample of zero-shot ones).

    Args:
      data_dir: the folder; one folder a process.
      vocab_size: pieces of the vocabulary, control tokens and 100 sentinels included.

    Returns:
      The folder.

    Raises:
      ConfigError: the folder or one of its files is missing.
    """
    root = pathlib.Path(str(data_dir)).expanduser()
    if not root.is_dir():
        raise ConfigError(f"DATA_DIR={data_dir!r} is no folder; expected parallel/, mono/, code/")
    tasks = list(_tasks(root))
    file_tasks.register_files(
        tasks,
        _mixtures(tasks),
        vocab_size=vocab_size,
        max_vocabulary_texts=MAX_VOCABULARY_TEXTS,
    )
    return str(root)


def task_name(objective: str, *codes: str) -> str:
    """Returns the name of a task over files, e.g. `files_translation_de_en`."""
    return "_".join(("files", objective, *codes))


def _tasks(root: pathlib.Path) -> Iterator[FileTask]:
    for language in COLUMNS:
        files = _paths(root, "mono", [COLUMNS[language]], "txt.gz")
        yield from _text_tasks(language, files=files)
    for pl, names in CODE.items():
        code = {
            "files": _paths(root, "code", names, "jsonl.gz"),
            "where": {"pl": pl, "lang": COLUMNS[PIVOT]},
        }
        yield from _text_tasks(pl, columns={"text": "code"}, **code)
        columns = {"code": "code", "doc": "nl"}
        for source, target in ((PIVOT, pl), (pl, PIVOT)):
            yield _pair_task("ptlm", source, target, records="code", columns=columns, **code)
    for language, names in PAIRS.items():
        files = _paths(root, "parallel", names, "tsv.gz")
        for source, target in ((language, PIVOT), (PIVOT, language)):
            for objective in ("translation", "ptlm"):
                yield _pair_task(objective, source, target, files=files)
    shared = [language for language, names in PAIRS.items() if MULTIWAY in names]
    for source, target in itertools.permutations(shared, 2):
        files = _paths(root, "parallel", [MULTIWAY], "tsv.gz")
        yield _pair_task("translation", source, target, files=files, trained=False)


def _text_tasks(language: str, **settings: Any) -> Iterator[FileTask]:
    for objective, options in _TEXT_OBJECTIVES.items():
        yield FileTask(
            name=task_name(objective, language),
            objective=objective,
            langs=language,
            options=options,
            **settings,
        )


def _pair_task(objective: str, source: str, target: str, **settings: Any) -> FileTask:
    columns = {"src": COLUMNS.get(source, ""), "tgt": COLUMNS.get(target, "")}
    return FileTask(
        name=task_name(objective, source, target),
        objective=objective,
        langs=(source, target),
        options=_PAIR_OPTIONS[objective],
        **{"columns": columns, **settings},
    )


def _paths(root: pathlib.Path, kind: str, names: Sequence[str], ending: str) -> dict[str, Any]:
    """Returns split -> files; every file must exist.

    Raises:
      ConfigError: a file is missing.
    """
    found = {
        split: tuple(str(root / kind / f"{name}.{word}.{ending}") for name in names)
        for split, word in SPLITS.items()
    }
    if kind == "mono":
        found["train"] = tuple(str(root / kind / f"{name}.{ending}") for name in names)
    missing = [path for path in itertools.chain(*found.values()) if not pathlib.Path(path).exists()]
    if missing:
        raise ConfigError(f"DATA_DIR={root} lacks the files {missing}")
    return found


def _mixtures(tasks: Iterable[FileTask]) -> list[FileMixture]:
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for task in tasks:
        is_noisy_code = task.objective == "dot_denoise" and task.codes[0] in CODE
        if task.trained and not is_noisy_code:
            groups[task.objective].append(task.name)
    evaluated = [task.name for task in tasks if task.objective == "translation"]
    return [
        *(
            FileMixture(
                name=name,
                shares={
                    task: share / len(groups[objective])
                    for objective, share in by_objective.items()
                    for task in groups[objective]
                },
            )
            for name, by_objective in _SHARES.items()
        ),
        FileMixture(
            name="files_evaluation", shares=dict.fromkeys(evaluated, 1.0), share_unit="examples"
        ),
    ]
