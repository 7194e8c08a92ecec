"""The records of the toy corpus: monolingual texts and pairs, in memory, made when first asked for.

English is the pivot. Training meanings are dealt out: each belongs to one non-English language (or
one programming language, or to English alone), and is paired with English in that language only,
so that no training example links two non-English languages, even through a shared English
sentence. Validation and test meanings are multi-way: every direction is scored on the same ones.

A text is a sentence or, once in a while, the description of a program: that is how a model learns
the words of `xx -> code` without ever seeing such a pair.
"""

import functools
import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from tasks import toy_grammar, toy_meaning, toy_programs
from tasks.toy_grammar import PIVOT

NATURAL_LANGUAGES = toy_grammar.LANGUAGES
PROGRAMMING_LANGUAGES = toy_programs.PROGRAMMING_LANGUAGES
NUM_TRAIN_SENTENCES = 8000
NUM_TRAIN_DESCRIPTIONS = 1200
NUM_TRAIN_PROGRAMS = 4000
NUM_HELDOUT_SENTENCES = 160
NUM_HELDOUT_PROGRAMS = 40

_SEED = 0
# One slice of meanings a language; of the sixteen slices of programs, eight go to the languages
# that describe them and four to each programming language.
_SENTENCE_OWNERS = NATURAL_LANGUAGES
_PROGRAM_OWNERS = (
    *(language for language in NATURAL_LANGUAGES if language != PIVOT),
    *(("python",) * 4),
    *(("javascript",) * 4),
)
_Thing = TypeVar("_Thing", bound=Hashable)


def num_pairs(source: str, target: str, split: str) -> int:
    """Returns how many pairs two languages have in a split where they have any."""
    return min(num_texts(language, split) for language in (source, target))


def num_texts(language: str, split: str) -> int:
    """Returns how many texts a language has in a split."""
    if split != "train":
        return NUM_HELDOUT_PROGRAMS + (
            0 if language in PROGRAMMING_LANGUAGES else NUM_HELDOUT_SENTENCES
        )
    if language in PROGRAMMING_LANGUAGES:
        return NUM_TRAIN_PROGRAMS
    return NUM_TRAIN_SENTENCES + NUM_TRAIN_DESCRIPTIONS


def texts(language: str, split: str) -> list[str]:
    """Returns the monolingual texts of a language in a split.

    Args:
        language: a natural or programming language of the corpus.
        split: one of "train", "validation", "test".

    Returns:
        `num_texts(language, split)` texts; code has its line breaks and indentation.
    """
    return list(_rendered(language, split, language))


def pairs(source: str, target: str, split: str) -> tuple[list[str], list[str]]:
    """Returns parallel texts of two languages.

    In the train split one side must be English. Between a natural language and code the texts are
    descriptions.

    Args:
        source: language of the first list.
        target: language of the second list.
        split: one of "train", "validation", "test".

    Returns:
        Two lists of equal length, in the same order for every direction of a pair.

    Raises:
        ValueError: if neither side is English in the train split, or both are the same.
    """
    if source == target:
        raise ValueError(f"source and target are both {source!r}, expected two languages")
    sides = {source, target}
    code = sides & set(PROGRAMMING_LANGUAGES)
    if split == "train":
        if PIVOT not in sides:
            raise ValueError(f"{source}-{target} has no train split: neither side is {PIVOT!r}")
        (owner,) = sides - {PIVOT}
    else:
        owner = min(code) if code else PIVOT
    return list(_rendered(owner, split, source)), list(_rendered(owner, split, target))


def triples(source: str, target: str, split: str) -> tuple[list[str], list[str], list[str]]:
    """Returns texts of two languages and, between them, of English.

    In the train split they are those that the source language has in common with English.

    Args:
        source: a natural language other than English.
        target: another one.
        split: one of "train", "validation", "test".

    Returns:
        Three lists of equal length: source, English, target.
    """
    owner = source if split == "train" else PIVOT
    texts = [list(_rendered(owner, split, language)) for language in (source, PIVOT, target)]
    return texts[0], texts[1], texts[2]


def vocabulary_texts() -> Iterable[str]:
    """Yields texts of every language from the train split, to train a vocabulary from."""
    for index in range(1500):
        yield from toy_grammar.parallel_record("train", _SEED + 1, index)["texts"].values()
    for index in range(500):
        record = toy_programs.program_record("train", _SEED + 1, index)
        yield from record["docs"].values()
        yield from record["code"].values()


_Meaning = toy_meaning.Meaning | toy_programs.Program


@functools.cache
def _rendered(owner: str, split: str, language: str) -> Sequence[str]:
    """Returns what the owner of meanings owns in a split, in some language."""
    meanings = _owned(owner, split)
    if language in PROGRAMMING_LANGUAGES:
        render_code = toy_programs.RENDERERS[language]
        return [render_code(m) for m in meanings if isinstance(m, toy_programs.Program)]
    render = toy_grammar.RENDERERS[language]
    return [
        toy_programs.describe(meaning, language)
        if isinstance(meaning, toy_programs.Program)
        else render(meaning)
        for meaning in meanings
    ]


def _owned(language: str, split: str) -> list[_Meaning]:
    """Returns what the texts of a language say, and its pairs with English but for English."""
    if split != "train":
        programs: list[_Meaning] = list(_heldout_programs(split))
        if language in PROGRAMMING_LANGUAGES:
            return programs
        return _spread(_heldout_sentences(split), programs)
    if language in PROGRAMMING_LANGUAGES:
        return list(_programs()[language])
    if language == PIVOT:
        # Its descriptions are those of Python programs.
        return _spread(_sentences()[PIVOT], _programs()["python"][:NUM_TRAIN_DESCRIPTIONS])
    return _spread(_sentences()[language], _programs()[language])


def _spread(many: Sequence[_Meaning], few: Sequence[_Meaning]) -> list[_Meaning]:
    """Returns both sequences as one, the shorter spread evenly through the longer."""
    step = len(many) // max(len(few), 1)
    mixed: list[_Meaning] = []
    for index, one in enumerate(few):
        mixed.extend(many[index * step : (index + 1) * step])
        mixed.append(one)
    return mixed + list(many[len(few) * step :])


@functools.cache
def _sentences() -> Mapping[str, Sequence[toy_meaning.Meaning]]:
    wanted = dict.fromkeys(NATURAL_LANGUAGES, NUM_TRAIN_SENTENCES)
    return _deal(
        toy_meaning.draw_meaning, toy_meaning.meaning_hash, _SENTENCE_OWNERS, "train", wanted
    )


@functools.cache
def _programs() -> Mapping[str, Sequence[toy_programs.Program]]:
    wanted = dict.fromkeys(_PROGRAM_OWNERS, NUM_TRAIN_DESCRIPTIONS)
    wanted |= dict.fromkeys(PROGRAMMING_LANGUAGES, NUM_TRAIN_PROGRAMS)
    return _deal(
        toy_programs.draw_program, toy_programs.program_hash, _PROGRAM_OWNERS, "train", wanted
    )


@functools.cache
def _heldout_sentences(split: str) -> Sequence[toy_meaning.Meaning]:
    wanted = {"all": NUM_HELDOUT_SENTENCES}
    return _deal(toy_meaning.draw_meaning, toy_meaning.meaning_hash, ("all",), split, wanted)["all"]


@functools.cache
def _heldout_programs(split: str) -> Sequence[toy_programs.Program]:
    wanted = {"all": NUM_HELDOUT_PROGRAMS}
    return _deal(toy_programs.draw_program, toy_programs.program_hash, ("all",), split, wanted)[
        "all"
    ]


def _deal(
    draw: Callable[[int, int], _Thing],
    hash_of: Callable[[_Thing], int],
    owners: Sequence[str],
    split: str,
    wanted: Mapping[str, int],
) -> dict[str, list[_Thing]]:
    """Returns distinct things of a split, dealt to their owners by their hash.

    Args:
        draw: (seed, index) -> thing.
        hash_of: thing -> 64-bit hash.
        owners: slice -> who owns it; an owner may have several slices.
        split: which split to keep.
        wanted: owner -> how many things.
    """
    dealt: dict[str, list[_Thing]] = {owner: [] for owner in wanted}
    seen: set[_Thing] = set()
    missing = sum(wanted.values())
    for index in itertools.count():
        thing = draw(_SEED, index)
        hash_ = hash_of(thing)
        if toy_meaning.split_of(hash_) != split:
            continue
        owner = owners[toy_meaning.slice_of(hash_, len(owners))]
        if len(dealt[owner]) < wanted[owner] and thing not in seen:
            seen.add(thing)
            dealt[owner].append(thing)
            missing -= 1
            if not missing:
                break
    return dealt
