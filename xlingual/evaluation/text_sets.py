"""Aligned texts in two or more languages, from tables, parallel files or registered tasks."""

import dataclasses
import gzip
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from xlingual.data.corpora import task_corpora
from xlingual.errors import ConfigError
from xlingual.evaluation.rows import hash_texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSet:
    """Texts that are translations of each other.

    Attributes:
      name: of the data set.
      texts: language -> its texts; text i of each says the same.
    """

    name: str
    texts: Mapping[str, Sequence[str]]

    @property
    def size(self) -> int:
        """Number of texts of a language."""
        return len(next(iter(self.texts.values())))

    @property
    def data_hash(self) -> str:
        """Hash of the languages and their texts."""
        return hash_texts(self.texts, *self.texts.values())

    def pairs(self, pivot_lang: str | None) -> list[tuple[str, str]]:
        """Returns (language, pivot) of all others, or all pairs without a pivot in the set."""
        codes = list(self.texts)
        if pivot_lang in codes:
            return [(code, pivot_lang) for code in codes if code != pivot_lang]
        return [(a, b) for place, a in enumerate(codes) for b in codes[place + 1 :]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSets:
    """Which aligned texts are read.

    Attributes:
      folder: under which relative paths are looked up.
      tables: files, `.tsv` or `.tsv.gz`, whose first line names the languages of the columns; rows
        with an empty cell are left out.
      files: data set -> {language: file of one text a line, `.gz` or not}; with as many lines.
      tasks: registered tasks or mixtures of translation pairs. Those with the pivot are joined by
        its texts to one set `NAME`, `tasks_name`.
      tasks_name: name of that set.
      split: of the tasks.
      langs: languages that are read; empty for all.
      pivot_lang: language that the others are compared with; None for all pairs.
      num_examples: texts of each language at most; which ones depends on `seed`.
      seed: of that choice.
    """

    folder: str = ""
    tables: Sequence[str] = ()
    files: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    tasks: Sequence[str] = ()
    tasks_name: str = "tasks"
    split: str = "validation"
    langs: Sequence[str] = ()
    pivot_lang: str | None = "en"
    num_examples: int = 1000
    seed: int = 0

    def load(self) -> list[TextSet]:
        """Returns the sets, the same for the same arguments.

        Raises:
          ConfigError: a file is missing or not what it should be, or a set has less than two
            languages or two rows.
        """
        root = pathlib.Path(self.folder).expanduser()
        found = [_read_table(root / path, self.langs) for path in self.tables]
        found += [_read_files(name, root, of, self.langs) for name, of in self.files.items()]
        if self.tasks:
            found.append(self._read_tasks())
        if not found:
            raise ConfigError("TextSets names no tables, files or tasks; expected some")
        return [self._limited(_without_copies(one)) for one in found]

    def _read_tasks(self) -> TextSet:
        rows: dict[str, dict[str, str]] = {}
        codes: dict[str, None] = {}
        for corpus in task_corpora(self.tasks, self.split):
            for row in corpus.read():
                key = row.get(self.pivot_lang or next(iter(row)))
                kept = [code for code in row if not self.langs or code in self.langs]
                if key is not None:
                    rows.setdefault(key, {}).update({code: row[code] for code in kept})
                    codes.update(dict.fromkeys(kept))
        whole = [row for row in rows.values() if len(row) == len(codes)]
        texts = {code: [row[code] for row in whole] for code in codes}
        return TextSet(name=self.tasks_name, texts=texts)

    def _limited(self, one: TextSet) -> TextSet:
        if len(one.texts) < 2 or one.size < 2:
            raise ConfigError(
                f"{one.name} has {len(one.texts)} languages and "
                f"{one.size if one.texts else 0} aligned rows; expected at least 2 of both"
            )
        if one.size <= self.num_examples:
            return one
        chosen = np.random.default_rng(self.seed).permutation(one.size)[: self.num_examples]
        places = sorted(chosen.tolist())
        texts = {code: [column[i] for i in places] for code, column in one.texts.items()}
        return dataclasses.replace(one, texts=texts)


def read_lines(path: str | pathlib.Path) -> list[str]:
    """Returns the lines of a UTF-8 file, compressed or not, without line ends.

    Raises:
      ConfigError: there is no such file, or it is not UTF-8.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; expected a file")
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: {error}; expected UTF-8 text, maybe in gzip") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines


def stem(path: str | pathlib.Path) -> str:
    """Returns the name of a data file without its endings: `a.valid` of `a.valid.tsv.gz`."""
    name = pathlib.Path(path).name
    for ending in (".gz", ".tsv", ".txt", ".jsonl"):
        name = name.removesuffix(ending)
    return name


def _read_table(path: pathlib.Path, langs: Sequence[str]) -> TextSet:
    lines = read_lines(path)
    header = lines[0].split("\t") if lines else []
    kept = [place for place, code in enumerate(header) if not langs or code in langs]
    columns: dict[str, list[str]] = {header[place]: [] for place in kept}
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise ConfigError(f"{path}, line {number}: {len(cells)} cells; expected {len(header)}")
        if all(cells[place].strip() for place in kept):
            for place in kept:
                columns[header[place]].append(cells[place])
    return TextSet(name=stem(path), texts=columns)


def _read_files(
    name: str, root: pathlib.Path, paths: Mapping[str, str], langs: Sequence[str]
) -> TextSet:
    kept_paths = {code: root / p for code, p in paths.items() if not langs or code in langs}
    columns = {code: read_lines(path) for code, path in kept_paths.items()}
    if len({len(column) for column in columns.values()}) > 1:
        sizes = {code: len(column) for code, column in columns.items()}
        raise ConfigError(f"{name}: files of {sizes} lines; expected as many in each")
    whole = [all(cells) for cells in zip(*columns.values(), strict=True)]
    return TextSet(
        name=name,
        texts={
            code: [text for text, kept in zip(column, whole, strict=True) if kept]
            for code, column in columns.items()
        },
    )


def _without_copies(one: TextSet) -> TextSet:
    """Drops rows with a text that an earlier row has: it would be right, and count as wrong."""
    seen: dict[str, set[str]] = {code: set() for code in one.texts}
    kept = []
    for place, cells in enumerate(zip(*one.texts.values(), strict=True)):
        if not any(cell in seen[code] for code, cell in zip(one.texts, cells, strict=True)):
            kept.append(place)
        for code, cell in zip(one.texts, cells, strict=True):
            seen[code].add(cell)
    texts = {code: [column[i] for i in kept] for code, column in one.texts.items()}
    return dataclasses.replace(one, texts=texts)
