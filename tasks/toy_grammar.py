"""Multi-way parallel sentences of the toy corpus, any number of them, from (split, seed, index).

The same `Meaning` is rendered in nine languages, six scripts and three basic word orders. A hash of
the meaning decides its split.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tasks import toy_meaning
from tasks.toy_tables import ar, de, en, fr, hi, ja, ru, tr, zh

RENDERERS: Mapping[str, Callable[[toy_meaning.Meaning], str]] = {
    "en": en.render,
    "de": de.render,
    "fr": fr.render,
    "ru": ru.render,
    "tr": tr.render,
    "hi": hi.render,
    "ja": ja.render,
    "ar": ar.render,
    "zh": zh.render,
}
LANGUAGES = tuple(RENDERERS)
PIVOT = "en"
WORD_ORDERS = {
    "en": "SVO",
    "de": "SVO",
    "fr": "SVO",
    "ru": "SVO",
    "tr": "SOV",
    "hi": "SOV",
    "ja": "SOV",
    "ar": "VSO",
    "zh": "SVO",
}


def parallel_record(
    split: str,
    seed: int,
    index: int,
    *,
    languages: Collection[str] = LANGUAGES,
) -> dict[str, Any]:
    """Returns one meaning of a split in several languages.

    Args:
        split: one of "train", "validation", "test".
        seed: names an endless sequence of records, >= 0.
        index: place in the sequence, >= 0 of any size.
        languages: the languages to render.

    Returns:
        `{"id": str, "texts": {language: sentence}}`; equal arguments give equal records.

    Raises:
        ValueError: if the split is unknown or the index negative.
    """
    meaning = draw_split_meaning(split, seed, index)
    return {
        "id": f"{split}-{seed}-{index}",
        "texts": {language: RENDERERS[language](meaning) for language in languages},
    }


def draw_split_meaning(split: str, seed: int, index: int) -> toy_meaning.Meaning:
    """Returns the meaning behind `parallel_record` with the same arguments."""
    check_place(split, index)
    attempt = 0
    while True:
        meaning = toy_meaning.draw_meaning(seed, index, attempt)
        if toy_meaning.split_of(toy_meaning.meaning_hash(meaning)) == split:
            return meaning
        attempt += 1


def check_place(split: str, index: int) -> None:
    """Checks the arguments that name a record.

    Raises:
        ValueError: if the split is unknown or the index negative.
    """
    if split not in toy_meaning.SPLITS:
        raise ValueError(f"split must be one of {toy_meaning.SPLITS}, found {split!r}")
    if index < 0:
        raise ValueError(f"index must be >= 0, found {index}")
