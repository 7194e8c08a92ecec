"""How many pieces each language deserves in a shared vocabulary: VoCap.

A language's vocabulary of V pieces is judged by the average log probability (ALP) of its text; it
rises with V, steeply first. Pieces go where the weighted rise is largest, until the union of the
languages' vocabularies has the wanted size.

References:
  Zheng et al., 2021, Allocating Large Vocabulary Capacity for Cross-lingual Language Model
  Pre-training (VoCap), EMNLP, arXiv:2109.07306, section 3. Here V counts pieces of text alone:
  bytes, which stand in for unknown characters, and special pieces come on top.
"""

import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sentencepiece import sentencepiece_model_pb2

from xlingual.data import vocabularies
from xlingual.errors import ConfigError

COVERAGE = 0.9995
_OTHER_PIECES = 259
"""Pad, EOS, UNK and the bytes, which every vocabulary of ours has."""
_Model: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """What vocabularies of growing size make of one language.

    Attributes:
      sizes: pieces, ascending.
      alp: average log probability of a line at each size, in nats.
      exhausted: whether the text yields no larger vocabulary; else larger ones were not asked for.
    """

    sizes: tuple[int, ...]
    alp: tuple[float, ...]
    exhausted: bool = False

    def concave(self) -> "Curve":
        """Returns the least concave curve that lies nowhere below this one.

        Where increments grow with the size, the stretch is replaced by its chord.
        """
        hull = [0]
        for point in range(1, len(self.sizes)):
            while len(hull) > 1 and self._slope(hull[-2], point) >= self._slope(hull[-2], hull[-1]):
                hull.pop()
            hull.append(point)
        corners = [self.sizes[i] for i in hull], [self.alp[i] for i in hull]
        return dataclasses.replace(self, alp=tuple(np.interp(self.sizes, *corners).tolist()))

    def _slope(self, first: int, last: int) -> float:
        return (self.alp[last] - self.alp[first]) / (self.sizes[last] - self.sizes[first])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allocation:
    """Who gets how much.

    Attributes:
      sizes: language -> pieces of its vocabulary.
      weights: language -> weight of its increments; they sum to one.
      last_increments: language -> weighted increment of its last step, in nats; 0 for no step.
      order: languages in the order in which they got a step.
      pieces: the union, by language in the order of `sizes`, then the filling.
      filled: how many of `pieces` are filling.
    """

    sizes: Mapping[str, int]
    weights: Mapping[str, float]
    last_increments: Mapping[str, float]
    order: tuple[str, ...]
    pieces: tuple[str, ...]
    filled: int


def average_log_probability(lines: Iterable[Sequence[int]]) -> float:
    """Returns the mean over lines of the sum of log p(piece), in nats.

    Args:
      lines: ids of each line; p is the relative frequency of a piece in these lines.

    Raises:
      ConfigError: there is no line.
    """
    arrays = [np.asarray(line, np.int64) for line in lines]
    if not arrays:
        raise ConfigError("no line of text to measure a vocabulary on; expected at least one")
    counts = np.bincount(np.concatenate(arrays)).astype(np.float64)
    counts = counts[counts > 0]
    return float((counts * np.log(counts / counts.sum())).sum() / len(arrays))


def measure_curve(
    lines: Sequence[str],
    sizes: Sequence[int],
    folder: pathlib.Path,
    *,
    control_tokens: Sequence[str] = (),
    max_measured: int = 1_000_000,
) -> Curve:
    """Returns the curve of one language; trains a unigram model a size, unless it is there.

    Sizes that do not even hold the characters of the text are left out; at the first size that is
    too large for the text, the curve ends.

    Args:
      lines: text as a tokenizer reads it.
      sizes: numbers of pieces, ascending.
      folder: keeps the models, under names that hold a hash of the text.
      control_tokens: that stand in the text, such as those of whitespace.
      max_measured: the first lines, on which the vocabularies are judged.

    Raises:
      ConfigError: no size fits the text.
    """
    reached: list[int] = []
    measured: list[float] = []
    problem: ConfigError | None = None
    for size in sizes:
        path = model_path(lines, size, folder, control_tokens)
        try:
            if not path.is_file():
                vocabularies.train_vocabulary(
                    lines,
                    path,
                    vocab_size=size + _OTHER_PIECES + len(control_tokens),
                    control_tokens=control_tokens,
                    num_sentinels=0,
                    character_coverage=COVERAGE,
                )
        except ConfigError as error:
            problem = error
            if measured:
                break
            continue
        tokenizer = vocabularies.load_vocabulary(path).tokenizer
        reached.append(size)
        measured.append(
            average_log_probability(tokenizer.EncodeAsIds(line) for line in lines[:max_measured])
        )
    if not measured:
        raise ConfigError(f"{folder.name}: no size of {list(sizes)} fits: {problem}")
    exhausted = reached[-1] != sizes[-1]
    return Curve(sizes=tuple(reached), alp=tuple(measured), exhausted=exhausted)


def model_path(
    lines: Sequence[str], size: int, folder: pathlib.Path, control_tokens: Sequence[str] = ()
) -> pathlib.Path:
    """Returns where the model of a size for this text is kept."""
    content = hashlib.sha256(repr(tuple(control_tokens)).encode())
    for line in lines:
        content.update(line.encode("utf-8") + b"\n")
    return folder / f"{content.hexdigest()[:12]}.{size}.model"


def text_pieces(path: pathlib.Path) -> list[str]:
    """Returns the pieces of a model that stand for text, best score first."""
    proto = _Model.FromString(path.read_bytes())
    found = [piece for piece in proto.pieces if piece.type == piece.NORMAL]
    return [piece.piece for piece in sorted(found, key=lambda piece: -piece.score)]


def allocate(
    curves: Mapping[str, Curve],
    rates: Mapping[str, float],
    pieces_of: Callable[[str, int], Sequence[str]],
    *,
    target: int,
    beta: float = 0.7,
    fill_from: str | None = None,
) -> Allocation:
    """Returns the allocation whose union is as large as `target` allows.

    Every language begins with its smallest vocabulary. Then the language with the largest weighted
    increment of its concave curve gets its next size, again and again, as long as the union of all
    has at most `target` pieces; of equal increments, the first language's by name. What is missing
    then comes from the largest vocabulary of `fill_from`.

    Args:
      curves: language -> curve.
      rates: language -> its rate in training, already smoothed; weights are their powers.
      pieces_of: (language, size) -> pieces, the most frequent first.
      target: pieces of the union.
      beta: exponent of the weights.
      fill_from: a language; None for no filling.

    Raises:
      ConfigError: no language, `target` smaller than the smallest union, an unknown `fill_from`, or
        a language that would need more than its largest vocabulary though its text yields more.
    """
    if not curves or (fill_from is not None and fill_from not in curves):
        raise ConfigError(f"fill_from is {fill_from!r}; expected one of {sorted(curves)}")
    powers = {language: rates[language] ** beta for language in sorted(curves)}
    weights = {language: power / sum(powers.values()) for language, power in powers.items()}
    places = dict.fromkeys(weights, 0)
    last = dict.fromkeys(weights, 0.0)
    union = _Union(pieces_of)
    for language in weights:
        union.replace(language, curves[language].sizes[0])
    if len(union) > target:
        raise ConfigError(
            f"target is {target} pieces; the smallest vocabularies together have {len(union)}"
        )
    order: list[str] = []
    for increment, language, place in _steps(curves, weights):
        old = curves[language].sizes[places[language]]
        union.replace(language, curves[language].sizes[place])
        if len(union) > target:
            union.replace(language, old)
            break
        places[language], last[language] = place, increment
        order.append(language)
        _check_end(language, curves[language], place, len(union), target)
    sizes = {language: curves[language].sizes[place] for language, place in places.items()}
    pieces = dict.fromkeys(itertools.chain(*(pieces_of(*one) for one in sizes.items())))
    before = len(pieces)
    for piece in pieces_of(fill_from, curves[fill_from].sizes[-1]) if fill_from else ():
        if len(pieces) >= target:
            break
        pieces[piece] = None
    return Allocation(
        sizes=sizes,
        weights=weights,
        last_increments=last,
        order=tuple(order),
        pieces=tuple(pieces),
        filled=len(pieces) - before,
    )


def _steps(
    curves: Mapping[str, Curve], weights: Mapping[str, float]
) -> list[tuple[float, str, int]]:
    """Returns (weighted increment, language, place of the size it leads to), largest first."""
    found = []
    for language, weight in weights.items():
        alp = curves[language].concave().alp
        smallest = np.inf
        for place in range(1, len(alp)):
            # On a chord, rounding must not let a later step overtake an earlier one.
            smallest = min(smallest, weight * (alp[place] - alp[place - 1]))
            found.append((float(smallest), language, place))
    return sorted(found, key=lambda step: (-step[0], step[1], step[2]))


def _check_end(language: str, curve: Curve, place: int, union: int, target: int) -> None:
    if place == len(curve.sizes) - 1 and not curve.exhausted and union < target:
        raise ConfigError(
            f"language {language!r} gets its largest vocabulary, {curve.sizes[-1]} pieces, and the "
            f"union has {union} of {target}: it would need more; measure larger sizes"
        )


class _Union:
    """Counts the pieces of the languages' vocabularies together."""

    def __init__(self, pieces_of: Callable[[str, int], Sequence[str]]) -> None:
        self._pieces_of = pieces_of
        self._owned: dict[str, Sequence[str]] = {}
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def replace(self, language: str, size: int) -> None:
        """Gives a language its vocabulary of a size instead of the one it has."""
        for piece in set(self._owned.get(language, ())):
            self._counts[piece] -= 1
            if not self._counts[piece]:
                del self._counts[piece]
        self._owned[language] = self._pieces_of(language, size)
        for piece in set(self._owned[language]):
            self._counts[piece] = self._counts.get(piece, 0) + 1
