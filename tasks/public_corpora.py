r"""Public corpora by name: their published layout of files, or their data set in TFDS.

Nothing is registered by importing this module, and nothing is downloaded: `register_public_corpus`,
called from gin, registers the tasks of one corpus over a folder that holds it.

    corpus            records  below `data_dir`                                        checked
    mc4               mono     TFDS c4/multilingual: splits LANG, LANG-validation      code of mT5
    wikipedia         mono     TFDS wikipedia/DUMP.LANG                                code of mT5
    madlad400         mono     data/LANG/LANG_clean_*.jsonl.gz: text                   readers
    fineweb2          mono     data/LANG/train/*.parquet: text                         readers
    culturax          mono     LANG/LANG_part_*.parquet: text                          readers
    the_stack         mono     data/PL/train-*.parquet: content                        readers
    opus              pair     TFDS opus/CONFIG                                        code of TFDS
    wmt               pair     TFDS wmt*_translate/SRC-TGT                             code of TFDS
    opus100           pair     supervised/A-B/opus.A-B-{train,dev,test}.A, .B          mtdata
    opus100_zero_shot pair     zero-shot/A-B/opus.A-B-test.A, .B                       recalled
    opus_moses        pair     CORPUS.A-B.A, .B (any corpus of OPUS as Moses files)    recalled
    nllb              pair     A-B.gz: texts, scores, ... between tabs, no header      mtdata
    code_search_net   code     PL/final/jsonl/{train,valid,test}/PL_*.jsonl.gz         readers

The last column says against what the layout was checked: public code that reads the corpus (of mT5,
TFDS, mtdata or others), or memory alone; never the data themselves. That MADLAD-400 writes a line
break as a backslash and an n is recalled. Where no validation data are published, a thousandth of
the rows is held out by a hash of their content, or the first hundredth of a split of TFDS.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tasks import file_tasks, tfds_tasks
from tasks.record_tasks import RecordTask
from xlingual.errors import ConfigError, nearest

_HELD_OUT = {"train": 0.999, "validation": 0.001}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileCorpus:
    """A corpus by the layout of its files.

    In patterns, `{a}` and `{b}` are the codes of the first and second language in the names of the
    files, `{config}` is the argument `config`, and `{column}` stays.

    Attributes:
      records: kind of records.
      files: split -> pattern; or a pattern of all rows, a thousandth of which is for validation.
      format: see `file_tasks.FileTask`, like what follows.
      header: whether a `tsv` names its columns.
      columns: field -> column.
      escaped_newlines: whether texts write a line break as a backslash and an n.
      trained: False for corpora without train data.
    """

    records: str
    files: str | Mapping[str, str]
    format: str | None = None
    header: bool = True
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    escaped_newlines: bool = False
    trained: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsCorpus:
    """A corpus of TFDS.

    Attributes:
      records: kind of records.
      tfds_name: data set, with `{a}`, `{b}` and `{config}` as in `FileCorpus`.
      splits: split -> split of the data set, with `{a}`.
      config: what `{config}` is without another choice.
    """

    records: str
    tfds_name: str
    splits: Mapping[str, str]
    config: str = ""


_TRAIN_AND_HELD_OUT = {"train": "train[1%:]", "validation": "train[:1%]"}
_OPUS100 = "opus.{a}-{b}"
CORPORA: Mapping[str, FileCorpus | TfdsCorpus] = {
    "mc4": TfdsCorpus(
        records="mono",
        tfds_name="c4/multilingual",
        splits={"train": "{a}", "validation": "{a}-validation"},
    ),
    "wikipedia": TfdsCorpus(
        records="mono",
        tfds_name="wikipedia/{config}.{a}",
        splits=_TRAIN_AND_HELD_OUT,
        config="20230601",
    ),
    "madlad400": FileCorpus(
        records="mono", files="data/{a}/{a}_clean_*.jsonl.gz", escaped_newlines=True
    ),
    "fineweb2": FileCorpus(records="mono", files="data/{a}/train/*.parquet"),
    "culturax": FileCorpus(records="mono", files="{a}/{a}_part_*.parquet"),
    "the_stack": FileCorpus(
        records="mono", files="data/{a}/train-*.parquet", columns={"text": "content"}
    ),
    "opus": TfdsCorpus(records="pair", tfds_name="opus/{config}", splits=_TRAIN_AND_HELD_OUT),
    "wmt": TfdsCorpus(
        records="pair",
        tfds_name="{config}/{a}-{b}",
        splits={"train": "train", "validation": "validation"},
        config="wmt19_translate",
    ),
    "opus100": FileCorpus(
        records="pair",
        files={
            split: f"supervised/{{a}}-{{b}}/{_OPUS100}-{word}.{{column}}"
            for split, word in {"train": "train", "validation": "dev", "test": "test"}.items()
        },
    ),
    "opus100_zero_shot": FileCorpus(
        records="pair",
        files={"test": f"zero-shot/{{a}}-{{b}}/{_OPUS100}-test.{{column}}"},
        trained=False,
    ),
    "opus_moses": FileCorpus(records="pair", files="{config}.{a}-{b}.{column}"),
    "nllb": FileCorpus(records="pair", files="{a}-{b}.gz", format="tsv", header=False),
    "code_search_net": FileCorpus(
        records="code",
        files={
            split: f"{{a}}/final/jsonl/{word}/{{a}}_{word}_*.jsonl.gz"
            for split, word in {"train": "train", "validation": "valid", "test": "test"}.items()
        },
        columns={"code": "code", "doc": "docstring"},
    ),
}
"""Name -> corpus."""


def register_public_corpus(
    name: str,
    data_dir: str,
    languages: Sequence[Any],
    objective: str,
    *,
    mixture: str | None = None,
    codes: Mapping[str, str] | None = None,
    config: str | None = None,
    options: Mapping[str, Any] | None = None,
    **vocabulary: Any,
) -> tuple[str, ...]:
    """Registers the tasks of a public corpus and a mixture of them, and returns their names.

    Arguments but the last as `public_corpus_tasks`. To mix several corpora, give what that function
    returns to `file_tasks.register_files`.

    Args:
      name: of the corpus.
      data_dir: folder that holds it.
      languages: what to read.
      objective: of every task.
      mixture: name of the mixture of all tasks; None takes the name of the corpus.
      codes: codes of the corpus.
      config: part of the name of files or data set.
      options: of the objective.
      **vocabulary: settings of the vocabulary, as `file_tasks.register_files` takes them.

    Raises:
      ConfigError: the corpus is unknown or not in the folder, or as `register_files`.
    """
    tasks = public_corpus_tasks(
        name, data_dir, languages, objective, codes=codes, config=config, options=options
    )
    mixtures = (file_tasks.FileMixture(name=mixture or name, shares=_equal_shares(tasks)),)
    return file_tasks.register_files(tasks, mixtures, **vocabulary)


def public_corpus_tasks(
    name: str,
    data_dir: str,
    languages: Sequence[Any],
    objective: str,
    *,
    codes: Mapping[str, str] | None = None,
    config: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[RecordTask, ...]:
    """Returns tasks `CORPUS_OBJECTIVE_LANGUAGES` over a public corpus, not registered yet.

    Args:
      name: of the corpus; one of `CORPORA`.
      data_dir: folder that holds the corpus in its published layout; for TFDS, its data folder.
      languages: codes for `mono` records; (source, target) for `pair` records, either order, no
        matter what the files are called; (programming language, language) for `code` records.
      objective: of every task.
      codes: code -> code of the corpus, where they differ, e.g. `{'de': 'deu_Latn'}` for `fineweb2`
        and `nllb`, `{'he': 'iw'}` for `mc4`.
      config: `opus`: configuration in TFDS; `wikipedia`: dump; `wmt`: data set; `opus_moses`:
        corpus.
      options: of the objective.

    Raises:
      ConfigError: the corpus is unknown, or what is asked for is not in the folder.
    """
    if name not in CORPORA:
        raise ConfigError(f"no public corpus is named {name!r}; {nearest(name, CORPORA)}")
    corpus = CORPORA[name]
    tasks = []
    for langs in languages:
        langs = (langs,) if isinstance(langs, str) else tuple(langs)
        own = tuple((codes or {}).get(code, code) for code in langs)
        settings = {
            "name": "_".join((name, objective, *langs)).replace("-", "_"),
            "objective": objective,
            "langs": langs,
            "records": corpus.records,
            "options": dict(options or {}),
            "description": f"{name}: {objective}, {' to '.join(langs)}.",
        }
        try:
            if isinstance(corpus, TfdsCorpus):
                tasks.append(_tfds_task(corpus, data_dir, own, config, settings))
            else:
                tasks.append(_file_task(corpus, data_dir, own, config, settings))
        except ConfigError as error:
            raise ConfigError(f"corpus {name!r}: {error}") from error
    return tuple(tasks)


def _equal_shares(tasks: Sequence[RecordTask]) -> dict[str, float]:
    return {task.name: 1.0 for task in tasks}


def _file_task(
    corpus: FileCorpus,
    data_dir: str,
    codes: tuple[str, ...],
    config: str | None,
    settings: Mapping[str, Any],
) -> RecordTask:
    by_split = {"train": corpus.files} if isinstance(corpus.files, str) else corpus.files
    orders = _orders(codes) if corpus.records == "pair" else [codes]
    for order in orders:
        names = {"a": order[0], "b": order[-1], "config": config or "", "column": "{column}"}
        patterns = {
            split: f"{str(data_dir).rstrip('/')}/{pattern.format(**names)}"
            for split, pattern in by_split.items()
        }
        present = {s: p for s, p in patterns.items() if _exists(p, codes)}
        if set(present) >= ({"train"} if corpus.trained else set(patterns)):
            break
    else:
        raise ConfigError(
            f"data_dir={data_dir!r} has no files {list(patterns.values())} for {list(codes)}"
        )
    columns = dict(corpus.columns)
    if corpus.records == "pair":
        places = dict(zip(order, ("0", "1"), strict=True))
        columns = {
            field: code if corpus.header else places[code]
            for field, code in zip(("src", "tgt"), codes, strict=True)
        }
    whole = isinstance(corpus.files, str)
    return file_tasks.FileTask(
        files=present["train"] if whole else present,
        split_shares=_HELD_OUT if whole else None,
        format=corpus.format,
        header=corpus.header,
        columns=columns,
        escaped_newlines=corpus.escaped_newlines,
        trained=corpus.trained,
        **settings,
    )


def _tfds_task(
    corpus: TfdsCorpus,
    data_dir: str,
    codes: tuple[str, ...],
    config: str | None,
    settings: Mapping[str, Any],
) -> RecordTask:
    chosen = config or corpus.config
    names = [
        corpus.tfds_name.format(a=order[0], b=order[-1], config=chosen) for order in _orders(codes)
    ]
    for name in names:
        try:
            tfds_tasks.prepared_folder(name, data_dir)
            break
        except ConfigError as error:
            problem = error
    else:
        raise problem
    columns = {"text": "text"}
    if corpus.records == "pair":
        columns = dict(zip(("src", "tgt"), codes, strict=True))
    return tfds_tasks.TfdsTask(
        tfds_name=name,
        data_dir=str(data_dir),
        splits={split: found.format(a=codes[0]) for split, found in corpus.splits.items()},
        columns=columns,
        **settings,
    )


def _orders(codes: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [codes] if len(codes) == 1 else [codes, codes[::-1]]


def _exists(pattern: str, columns: Sequence[str]) -> bool:
    paths = [pattern.replace("{column}", column) for column in columns]
    return all(tf.io.gfile.glob(path) for path in paths)
