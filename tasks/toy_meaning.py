"""What a sentence of the toy corpus says, without a word of any language.

A `Meaning` names concepts: who (number, adjective) did what and when to what (number or numeral,
adjective), and where. The tables of `tasks.toy_tables` render it. Meanings are drawn from counters
and belong to a split by a hash of themselves, so that no meaning is in two splits.
"""

import dataclasses

from tasks import toy_random

SPLITS = ("train", "validation", "test")

SUBJECTS = (
    "teacher",
    "doctor",
    "farmer",
    "student",
    "neighbour",
    "cook",
    "driver",
    "child",
    "woman",
    "girl",
    "grandmother",
    "tourist",
    "soldier",
    "painter",
    "queen",
    "guest",
)
SUBJECT_ADJECTIVES = ("young", "happy", "tired", "kind", "clever", "quiet", "famous", "rich")
OBJECTS = (
    "book",
    "letter",
    "newspaper",
    "apple",
    "cake",
    "egg",
    "shirt",
    "hat",
    "cup",
    "plate",
    "table",
    "lamp",
    "key",
    "picture",
    "car",
    "bicycle",
    "flower",
    "box",
    "map",
    "umbrella",
)
OBJECT_ADJECTIVES = (
    "red",
    "white",
    "black",
    "big",
    "small",
    "new",
    "old",
    "beautiful",
    "cheap",
)
TENSES = ("past", "present", "future")
TIMES = {
    "past": ("yesterday", "last_week"),
    "present": ("now", "today"),
    "future": ("tomorrow", "next_week"),
}
PLACES = (
    "school",
    "garden",
    "market",
    "museum",
    "park",
    "hospital",
    "station",
    "forest",
    "village",
    "hotel",
    "shop",
    "library",
)
PREPOSITIONS = ("in", "next_to", "behind", "in_front_of")
VERB_OBJECTS = {
    "buy": OBJECTS,
    "sell": OBJECTS,
    "measure": OBJECTS,
    "look_at": OBJECTS,
    "touch": OBJECTS,
    "choose": OBJECTS,
    "hide": OBJECTS,
    "wrap": OBJECTS,
    "steal": OBJECTS,
    "look_for": OBJECTS,
    "send": OBJECTS,
    "order": OBJECTS,
    "throw_away": OBJECTS,
    "inspect": OBJECTS,
    "wash": ("apple", "cup", "plate", "table", "car", "bicycle"),
    "repair": ("table", "lamp", "car", "bicycle", "umbrella", "box"),
    "read": ("book", "letter", "newspaper"),
    "eat": ("apple", "cake", "egg"),
}
VERBS = tuple(VERB_OBJECTS)
# 1: the one thing; PLURAL: the things; 2..10: that many things.
PLURAL = 0
OBJECT_NUMBERS = (1, PLURAL, 2, 3, 4, 5, 6, 7, 8, 9, 10)

_MEANING_STREAM = 1
_TRAIN_PERCENT = 90
_VALIDATION_PERCENT = 5
# Each tuple is drawn from uniformly: repetition is the weight.
_NUMBER_CHOICES = (1,) * 5 + (PLURAL,) * 4 + OBJECT_NUMBERS[2:]
_SUBJECT_ADJECTIVE_CHOICES = (None,) * 8 + SUBJECT_ADJECTIVES
_OBJECT_ADJECTIVE_CHOICES = (None,) * 6 + OBJECT_ADJECTIVES
_PREPOSITION_CHOICES = (None,) + PREPOSITIONS


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """Who did what to what, where and when; every field is a concept of this module.

    Attributes:
        subject: one of `SUBJECTS`; always definite ("the teacher").
        subject_plural: whether there is more than one of them.
        subject_adjective: one of `SUBJECT_ADJECTIVES`, or None.
        verb: one of `VERBS`.
        tense: one of `TENSES`; the present is progressive.
        object: one of `VERB_OBJECTS[verb]`.
        object_number: 1 ("the book"), `PLURAL` ("the books") or 2 to 10 ("three books").
        object_adjective: one of `OBJECT_ADJECTIVES`, or None.
        preposition: one of `PREPOSITIONS`, or None if no place is told.
        place: one of `PLACES`; None exactly if `preposition` is None.
        time: one of `TIMES[tense]`, or None.
    """

    subject: str
    subject_plural: bool
    subject_adjective: str | None
    verb: str
    tense: str
    object: str
    object_number: int
    object_adjective: str | None
    preposition: str | None
    place: str | None
    time: str | None


def draw_meaning(seed: int, index: int, attempt: int = 0) -> Meaning:
    """Returns the meaning at one place of an endless random sequence.

    Args:
        seed: names the sequence, >= 0.
        index: place in the sequence, >= 0.
        attempt: further draws for the same place (rejection sampling), >= 0.

    Returns:
        A meaning of any split.
    """
    bits = toy_random.random_bits(seed, _MEANING_STREAM, index, attempt)
    bits, subject = divmod(bits, len(SUBJECTS))
    bits, subject_plural = divmod(bits, 2)
    bits, subject_adjective = divmod(bits, len(_SUBJECT_ADJECTIVE_CHOICES))
    bits, verb = divmod(bits, len(VERBS))
    objects = VERB_OBJECTS[VERBS[verb]]
    bits, object_ = divmod(bits, len(objects))
    bits, number = divmod(bits, len(_NUMBER_CHOICES))
    bits, object_adjective = divmod(bits, len(_OBJECT_ADJECTIVE_CHOICES))
    bits, preposition = divmod(bits, len(_PREPOSITION_CHOICES))
    bits, place = divmod(bits, len(PLACES))
    bits, tense = divmod(bits, len(TENSES))
    times = (None, None, *TIMES[TENSES[tense]])
    return Meaning(
        subject=SUBJECTS[subject],
        subject_plural=bool(subject_plural),
        subject_adjective=_SUBJECT_ADJECTIVE_CHOICES[subject_adjective],
        verb=VERBS[verb],
        tense=TENSES[tense],
        object=objects[object_],
        object_number=_NUMBER_CHOICES[number],
        object_adjective=_OBJECT_ADJECTIVE_CHOICES[object_adjective],
        preposition=_PREPOSITION_CHOICES[preposition],
        place=PLACES[place] if preposition else None,
        time=times[bits % len(times)],
    )


def meaning_hash(meaning: Meaning) -> int:
    """Returns the 64-bit hash that decides the split and the slice of a meaning."""
    fields = (
        meaning.subject,
        meaning.subject_plural,
        meaning.subject_adjective,
        meaning.verb,
        meaning.tense,
        meaning.object,
        meaning.object_number,
        meaning.object_adjective,
        meaning.preposition,
        meaning.place,
        meaning.time,
    )
    return toy_random.text_hash(repr(fields))


def split_of(hash_: int) -> str:
    """Returns the split of a meaning or program with this 64-bit hash.

    90 in 100 hashes are train, 5 validation and 5 test.
    """
    percent = hash_ % 100
    if percent < _TRAIN_PERCENT:
        return "train"
    return "validation" if percent < _TRAIN_PERCENT + _VALIDATION_PERCENT else "test"


def slice_of(hash_: int, num_slices: int) -> int:
    """Returns the slice in [0, num_slices) of a meaning or program, independent of its split."""
    return (hash_ // 100) % num_slices
