"""The texts of a folder of plain files, by source and language, for vocabularies and statistics.

The layout is that of `files.register_folder`, whatever languages the files hold:

    mono/LANG.txt.gz      LANG.valid.txt.gz        a sentence or paragraph a line
    parallel/NAME.train.tsv.gz  NAME.valid.tsv.gz  a header of language codes, a row a sentence
    code/NAME.train.jsonl.gz    NAME.valid.jsonl.gz  objects with nl, lang, code, pl

Languages keep the names of the files. Where the folder has a `languages.tsv` with the columns
`code` and `bcp47`, `language_codes` tells the codes of control tokens.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping

from tasks import file_streams, raw_files
from tasks.raw_files import Layout
from xlingual.data import languages
from xlingual.data.corpora import Corpus, Row
from xlingual.errors import ConfigError

SPLITS = {"train": ".train", "validation": ".valid"}
"""Split -> the word for it in file names."""
_TEXT = Layout(format="text", columns=(("text", "text"),))
_TABLE = Layout(format="tsv", columns=())
_CODE = Layout(
    format="jsonl", columns=(("nl", "text"), ("lang", "text"), ("code", "text"), ("pl", "text"))
)


def folder_corpora(folder: str, split: str) -> list[Corpus]:
    """Returns the corpora of a folder, one a file, sorted by name.

    Args:
      folder: holds some of `mono`, `parallel` and `code`.
      split: `train` or `validation`.

    Raises:
      ConfigError: no such folder or split, or no file.
    """
    root = pathlib.Path(folder).expanduser()
    if not root.is_dir():
        raise ConfigError(f"no data folder {folder!r}; expected one with parallel/, mono/ or code/")
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; a folder has {list(SPLITS)}")
    found = []
    for kind, ending, read in (
        ("code", ".jsonl.gz", _code_rows),
        ("mono", ".txt.gz", _text_rows),
        ("parallel", ".tsv.gz", _table_rows),
    ):
        for path in sorted((root / kind).glob(f"*{ending}")):
            name = path.name.removesuffix(ending)
            if _split_of(name) != split:
                continue
            stem = name.removesuffix(SPLITS[split])
            code = _programming_languages(str(path)) if kind == "code" else frozenset()
            corpus = Corpus(
                name=f"{kind}/{stem}",
                read=functools.partial(read, str(path), stem),
                programming=code,
            )
            found.append(corpus)
    if not found:
        raise ConfigError(f"data folder {folder!r} has no files of the split {split!r}")
    return found


def language_codes(folder: str) -> Mapping[str, str]:
    """Returns name of a language in the files -> its code in control tokens, as far as known.

    Raises:
      ConfigError: `languages.tsv` is there and cannot be read.
    """
    path = pathlib.Path(folder).expanduser() / "languages.tsv"
    if not path.is_file():
        return {}
    found = {}
    for row in raw_files.read_rows([str(path)], _TABLE):
        if isinstance(row, raw_files.Row) and {"code", "bcp47"} <= set(row.values):
            code = row.values["bcp47"]
            if code in languages.NATURAL_LANGUAGES:
                found[row.values["code"]] = code
    return found


def _split_of(name: str) -> str:
    """Returns the split of a file's name without its ending; a plain name is a train file."""
    return "validation" if name.endswith(SPLITS["validation"]) else "train"


def _rows(path: str, layout: Layout) -> Iterator[Mapping[str, str]]:
    for row in raw_files.read_rows([path], layout):
        if isinstance(row, file_streams.BadLine):
            raise ConfigError(f"data file {path}, line {row.number}: {row.reason}")
        if row is not None:
            yield row.values


def _text_rows(path: str, stem: str) -> Iterator[Row]:
    for values in _rows(path, _TEXT):
        yield {stem: values["text"]}


def _table_rows(path: str, stem: str) -> Iterator[Row]:
    del stem
    for values in _rows(path, _TABLE):
        yield {language: text for language, text in values.items() if text}


def _code_rows(path: str, stem: str) -> Iterator[Row]:
    del stem
    for values in _rows(path, _CODE):
        yield {values["lang"]: values["nl"], values["pl"]: values["code"]}


@functools.cache
def _programming_languages(path: str) -> frozenset[str]:
    """Returns the values of `pl` in a file of code; it is read for them once."""
    return frozenset(values["pl"] for values in _rows(path, _CODE))
