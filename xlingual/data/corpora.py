"""Text by source and language, as vocabularies are trained on it and statistics count it.

A corpus is read as rows: a row maps languages to texts, one language for monolingual text, two or
more for translations or for code with its description. What is read is text as it is in the files
or records, before any tokenizer. Registered tasks are corpora (`task_corpora`); a module of the
tasks package may read folders as corpora too.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import seqio
import tensorflow as tf

from xlingual.data import languages, task_registry
from xlingual.data.structure import same_structure
from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace

FIELD_LANGUAGES: Mapping[str, str] = {
    "text": "lang",
    "src": "src_lang",
    "pivot": "pivot_lang",
    "tgt": "tgt_lang",
    "code": "pl",
    "doc": "doc_lang",
}
"""Text field of a record -> the field with its language."""

Row = Mapping[str, str]
_BATCH = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """Rows of one source.

    Attributes:
      name: e.g. `parallel/multi30k` or the name of a task.
      read: returns the rows from the first, anew at each call; the order is always the same.
      programming: names that are programming languages; None for those of
        `languages.PROGRAMMING_LANGUAGES`.
    """

    name: str
    read: Callable[[], Iterator[Row]]
    programming: frozenset[str] | None = None

    def is_code(self, language: str) -> bool:
        """Returns whether texts of a language are code, whose whitespace is encoded."""
        if self.programming is None:
            return languages.is_programming_language(language)
        return language in self.programming

    def tokenizer_text(self, language: str, text: str) -> str:
        """Returns a text as tokenizers read it: control tokens escaped, whitespace of code kept."""
        if self.is_code(language):
            return code_whitespace.encode_whitespace(text)
        return code_whitespace.escape_control(text)


def iterate_texts(corpora: Iterable[Corpus]) -> Iterator[tuple[Corpus, str, str]]:
    """Yields (corpus, language, text) of every text, corpus by corpus."""
    for corpus in corpora:
        for row in corpus.read():
            for language, text in row.items():
                yield corpus, language, text


def only_languages(corpora: Iterable[Corpus], wanted: Sequence[str]) -> list[Corpus]:
    """Returns corpora whose rows hold only the texts of some languages."""

    def select(corpus: Corpus) -> Corpus:
        def read() -> Iterator[Row]:
            for row in corpus.read():
                kept = {language: text for language, text in row.items() if language in wanted}
                if kept:
                    yield kept

        return dataclasses.replace(corpus, read=read)

    return [select(corpus) for corpus in corpora]


def task_corpora(names: Iterable[str], split: str) -> list[Corpus]:
    """Returns the records of tasks, and of the leaves of mixtures, as corpora.

    Tasks that share their records count once, under the name of the first.

    Args:
      names: registered tasks or mixtures.
      split: those without it are left out.

    Raises:
      ConfigError: an unknown name, or no task has the split.
    """
    tasks: list[seqio.Task] = []
    for name in names:
        for leaf in task_registry.leaf_shares(name)[0]:
            task = task_registry.get_mixture_or_task(leaf)
            known = (same_structure(task.source, one.source) for one in tasks)
            if split in task.splits and not any(known):
                tasks.append(task)
    if not tasks:
        raise ConfigError(f"no task of {list(names)} has a split {split!r}")
    return [_task_corpus(task, split) for task in tasks]


def _task_corpus(task: seqio.Task, split: str) -> Corpus:
    def read() -> Iterator[Row]:
        with as_config_error(f"task {task.name!r}"):
            dataset = task.source.get_dataset(split=split, shuffle=False)
            spec = dataset.element_spec
            fields = {text: lang for text, lang in FIELD_LANGUAGES.items() if text in spec}
            if not fields or not set(fields.values()) <= set(spec):
                raise ConfigError(
                    f"task {task.name!r} has records of {sorted(spec)}; expected text and the "
                    "fields of its language"
                )
            wanted = {*fields, *fields.values()}
            for batch in _batches(dataset, wanted):
                for values in zip(*batch.values(), strict=True):
                    row = {name: value.decode() for name, value in zip(batch, values, strict=True)}
                    yield {row[lang]: row[text] for text, lang in fields.items()}

    return Corpus(name=task.name, read=read)


def _batches(dataset: tf.data.Dataset, wanted: set[str]) -> Iterator[dict[str, list[bytes]]]:
    selected = dataset.map(lambda record: {name: record[name] for name in sorted(wanted)})
    for batch in selected.batch(_BATCH).as_numpy_iterator():
        yield {name: column.tolist() for name, column in batch.items()}
