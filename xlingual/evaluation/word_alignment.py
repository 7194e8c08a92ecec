"""Word alignment of gold sets by the states of any layer, and retrieval of words in context.

    aer_METHOD precision_METHOD recall_METHOD f1_METHOD      against links that people drew
    word_retrieval                                           share of linked words whose nearest
                                                             among all words of the other side, each
                                                             in its sentence, is the linked one

References:
  Jalili Sabet et al., 2020, arXiv:2004.08728; Cao et al., 2020, "Multilingual Alignment of
  Contextual Word Representations", arXiv:2002.03518 (contextual word retrieval).
"""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.data.base import BatchSource
from xlingual.errors import ConfigError
from xlingual.evaluation import alignment
from xlingual.evaluation.alignment import METHODS, Gold, Links
from xlingual.evaluation.bootstrap import interval, mean_of, with_counts
from xlingual.evaluation.encoding import EncodingOptions, SentenceEncoder
from xlingual.evaluation.retrieval_scores import retrieve
from xlingual.evaluation.rows import hash_texts, make_row
from xlingual.evaluation.suite import vocabulary_of
from xlingual.evaluation.text_sets import read_lines, stem
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

TOKEN_TYPES = ("subword", "word")
_CHUNK = 512


@dataclasses.dataclass(frozen=True)
class GoldSet:
    """Sentence pairs with their links.

    Attributes:
      name: of the data set.
      src_lang: language of the sources.
      tgt_lang: language of the targets.
      sources: words of each source.
      targets: words of each target.
      gold: links of each pair.
    """

    name: str
    src_lang: str
    tgt_lang: str
    sources: Sequence[Sequence[str]]
    targets: Sequence[Sequence[str]]
    gold: Sequence[Gold]


def read_table(path: pathlib.Path) -> GoldSet:
    """Returns the set of a table: header `SRC TGT sure possible`, words with spaces between them.

    Args:
      path: `.tsv` or `.tsv.gz`; links `i-j` from 0, the possible ones with the sure among them.

    Raises:
      ConfigError: the file is missing, or a line is not of this form.
    """
    lines = [line.split("\t") for line in read_lines(path)]
    if not lines or lines[0][2:] != ["sure", "possible"]:
        raise ConfigError(f"{path}: header {lines[:1]}; expected SRC TGT sure possible")
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != 4:
            raise ConfigError(f"{path}, line {number}: {len(cells)} cells; expected 4")
    sure, possible = ([alignment.parse_links(cells[i]).sure for cells in lines[1:]] for i in (2, 3))
    return GoldSet(
        stem(path),
        lines[0][0],
        lines[0][1],
        [cells[0].split() for cells in lines[1:]],
        [cells[1].split() for cells in lines[1:]],
        [Gold(s, s | p) for s, p in zip(sure, possible, strict=True)],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignedFiles:
    """A gold set in three files: words of both sides, a sentence a line, and links.

    Attributes:
      name: of the data set.
      src_lang: language of the sources.
      tgt_lang: language of the targets.
      sources: file of source sentences.
      targets: file of target sentences.
      links: file of links.
      format: of the links: `pharaoh` (a line a sentence) or `naacl` (a line a link, from 1).
      first_index: number of the first word in `pharaoh`, 0 or 1.
    """

    name: str
    src_lang: str
    tgt_lang: str
    sources: str
    targets: str
    links: str
    format: str = "pharaoh"
    first_index: int = 0

    def read(self, root: pathlib.Path) -> GoldSet:
        """Returns the set.

        Args:
          root: folder under which relative paths are looked up.

        Raises:
          ConfigError: a file is missing or another length, a format or a line is wrong.
        """
        paths = (root / self.sources, root / self.targets)
        sides = [[line.split() for line in read_lines(path)] for path in paths]
        lines = read_lines(root / self.links)
        if self.format == "naacl":
            gold = alignment.parse_naacl(lines, len(sides[0]))
        elif self.format == "pharaoh":
            gold = [alignment.parse_links(line, first_index=self.first_index) for line in lines]
        else:
            raise ConfigError(f"format={self.format!r}; expected pharaoh or naacl")
        if not len(sides[0]) == len(sides[1]) == len(gold):
            raise ConfigError(
                f"{self.name}: {len(sides[0])} sources, {len(sides[1])} targets, links of "
                f"{len(gold)}; expected as many of each"
            )
        return GoldSet(self.name, self.src_lang, self.tgt_lang, sides[0], sides[1], gold)


@dataclasses.dataclass(kw_only=True)
class WordAlignmentEvaluator:
    """Aligns words by their states and compares with gold links.

    Attributes:
      folder: under which relative paths are looked up.
      tables: files with a header `SRC TGT sure possible` (`read_table`).
      files: sets in three files each.
      encoding: layer and lengths; pooling and prefix do not matter.
      layers: whose states; empty for that of `encoding`.
      methods: of `alignment.METHODS`.
      token_type: `subword` links words any of whose subwords are linked; `word` aligns means.
      distortion: how much less words at other places resemble each other, in [0, 1].
      num_examples: sentence pairs of a set at most, from its beginning.
      num_words: linked words whose retrieval is measured, at most; 0 for none.
      seed: of bootstrap intervals.
      bootstrap_samples: resampled sets of each interval; 0 for no intervals.
      name: short name of the evaluator.
    """

    folder: str = ""
    tables: Sequence[str] = ()
    files: Sequence[AlignedFiles] = ()
    encoding: EncodingOptions = dataclasses.field(default_factory=EncodingOptions)
    layers: Sequence[int] = ()
    methods: Sequence[str] = ("argmax", "itermax", "match")
    token_type: str = "subword"
    distortion: float = 0.0
    num_examples: int = 1000
    num_words: int = 10_000
    seed: int = 0
    bootstrap_samples: int = 1000
    name: str = "word_alignment"
    _sets: list[GoldSet] = dataclasses.field(default_factory=list, init=False, repr=False)
    _encoder: SentenceEncoder | None = dataclasses.field(default=None, init=False, repr=False)

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Reads the gold sets.

        Raises:
          ConfigError: a file or an option is wrong, or there is no vocabulary.
        """
        del losses
        for method in self.methods:
            if method not in METHODS:
                raise ConfigError(f"methods: {method!r}; expected some of {tuple(METHODS)}")
        if self.token_type not in TOKEN_TYPES:
            raise ConfigError(f"token_type={self.token_type!r}; expected one of {TOKEN_TYPES}")
        root = pathlib.Path(self.folder).expanduser()
        self._sets = [
            *(read_table(root / path) for path in self.tables),
            *(files.read(root) for files in self.files),
        ]
        if not self._sets:
            raise ConfigError("WordAlignmentEvaluator has no tables and no files; expected some")
        self._vocabulary = vocabulary_of(source)
        self._encoder = SentenceEncoder(model, partitioner, self._vocabulary, self.encoding)

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the scores of every set, layer and method."""
        assert self._encoder is not None
        count = self._encoder.num_layers(params)
        rows: list[dict[str, Any]] = []
        for one in self._sets:
            for layer in list(self.layers) or [self.encoding.layer]:
                rows += self._evaluate(one, params, layer % count)
        scalars = {
            f"{self.name}/{row['dataset']}/{row['metric']}/layer_{row['layer']}": row["value"]
            for row in rows
            if row["metric"].startswith(("aer", "word"))
        }
        return Evaluation(scalars=scalars, rows=rows)

    def _evaluate(self, one: GoldSet, params: PyTree, layer: int) -> list[dict[str, Any]]:
        counts: dict[str, list[tuple[int, ...]]] = {method: [] for method in self.methods}
        words: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        size = min(len(one.gold), self.num_examples)
        for gold, sides in zip(one.gold, self._states(one, size, params, layer), strict=False):
            for method, links in self._align(sides).items():
                counts[method].append(alignment.link_counts(links, gold))
            self._collect(gold, sides, words)
        tags: dict[str, Any] = {
            "dataset": one.name,
            "src_lang": one.src_lang,
            "tgt_lang": one.tgt_lang,
            "layer": layer,
            "data_hash": hash_texts(*(map(" ".join, side[:size]) for side in _sides(one))),
        }
        rows = [
            self._row(
                f"{metric}_{method}", np.asarray(found), functools.partial(_score, metric), **tags
            )
            for method, found in counts.items()
            for metric in ("aer", "precision", "recall", "f1")
        ]
        if len(words[0]) > 1:
            (both,) = retrieve(np.stack(words[0]), np.stack(words[1]), ["csls"]).values()
            for nearest, langs in zip(
                both, ((one.src_lang, one.tgt_lang), (one.tgt_lang, one.src_lang)), strict=True
            ):
                hits = with_counts(nearest == np.arange(len(nearest)))
                turned = {**tags, "src_lang": langs[0], "tgt_lang": langs[1]}
                rows.append(self._row("word_retrieval", hits, mean_of, **turned))
        return rows

    def _row(self, metric: str, sums: np.ndarray, statistic: Any, **tags: Any) -> dict[str, Any]:
        if self.bootstrap_samples:
            low, high = interval(
                statistic, sums, seed=self.seed, num_samples=self.bootstrap_samples
            )
            tags |= {"low": low, "high": high, "confidence": 0.95}
        value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
        return make_row(metric=metric, value=value, num_examples=len(sums), **tags)

    def _states(
        self, one: GoldSet, size: int, params: PyTree, layer: int
    ) -> Iterator[tuple["_Side", "_Side"]]:
        """Yields the words and states of both sides of each pair, in order."""
        assert self._encoder is not None
        for start in range(0, size, _CHUNK):
            sides = []
            for sentences in _sides(one):
                chunk = [self._tokens(s) for s in sentences[start : min(start + _CHUNK, size)]]
                ids = [ids for ids, _ in chunk]
                states = self._encoder.token_states(ids, params=params, layer=layer)
                sides.append(
                    [
                        _Side(tokens[: len(owners)], owners)
                        for tokens, (_, owners) in zip(states, chunk, strict=True)
                    ]
                )
            yield from zip(*sides, strict=True)

    def _tokens(self, words: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        """Returns ids, EOS included, and the word of each but EOS; what does not fit is cut."""
        ids: list[int] = []
        owners: list[int] = []
        for number, word in enumerate(words):
            pieces = self._vocabulary.encode(word if number == 0 else f" {word}")
            ids += pieces
            owners += [number] * len(pieces)
        room = self.encoding.max_length - 1
        return np.asarray([*ids[:room], self._vocabulary.eos_id], np.int32), owners[:room]

    def _align(self, sides: tuple["_Side", "_Side"]) -> dict[str, Links]:
        if self.token_type == "word":
            sides = (sides[0].by_word(), sides[1].by_word())
        if not all(side.words for side in sides):
            return dict.fromkeys(self.methods, frozenset())
        scores = alignment.similarity(sides[0].states, sides[1].states, distortion=self.distortion)
        return {
            method: alignment.word_links(METHODS[method](scores), sides[0].words, sides[1].words)
            for method in self.methods
        }

    def _collect(
        self,
        gold: Gold,
        sides: tuple["_Side", "_Side"],
        words: tuple[list[np.ndarray], list[np.ndarray]],
    ) -> None:
        """Adds the states of words that have one sure link, both ways."""
        if len(words[0]) >= self.num_words:
            return
        first, second = (collections.Counter(link[side] for link in gold.sure) for side in (0, 1))
        means = [side.by_word() for side in sides]
        places = [{word: i for i, word in enumerate(side.words)} for side in means]
        for link in sorted(gold.sure):
            inside = link[0] in places[0] and link[1] in places[1]
            if inside and first[link[0]] == second[link[1]] == 1 and len(words[0]) < self.num_words:
                for side in (0, 1):
                    words[side].append(means[side].states[places[side][link[side]]])


@dataclasses.dataclass(frozen=True)
class _Side:
    """States [tokens, embed] of one sentence, and the word of each token."""

    states: np.ndarray
    words: list[int]

    def by_word(self) -> "_Side":
        """The mean of the tokens of each word."""
        if not self.words:
            return self
        # The tokens of a word are neighbours.
        owners = np.asarray(self.words)
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        sums = np.add.reduceat(self.states, starts, axis=0)
        sizes = np.diff(starts, append=len(owners)).astype(np.float32)
        return _Side(sums / sizes[:, None], owners[starts].tolist())


def _sides(one: GoldSet) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]:
    return one.sources, one.targets


def _score(metric: str, counts: np.ndarray) -> np.ndarray:
    return alignment.scores_of_counts(counts)[metric]
