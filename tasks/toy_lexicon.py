"""Word lists of the toy corpus: bilingual lexicons, and the nouns and verbs of a sentence.

Both are read off the tables that render sentences, so that every entry is a word form that occurs.
Japanese and Chinese have entries too, but no spaces by which a word could be found in a text.
"""

import functools
import hashlib
import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence

from tasks.trained_vocabulary import cache_folder

_NOUN_COLUMNS: Mapping[str, tuple[int, int]] = {
    "en": (0, 1),
    "de": (1, 2),
    "fr": (1, 2),
    "ru": (1, 2),
    "tr": (0, 0),
    "hi": (1, 2),
    "ja": (0, 0),
    "ar": (1, -1),
    "zh": (0, 0),
}
"""Language -> columns of a singular and a plural form in its tables of nouns."""
_NOUN_TABLES = ("NOUNS", "SUBJECT_FORMS", "OBJECT_FORMS")


def lexicon(source: str, target: str) -> list[tuple[str, str]]:
    """Returns pairs of words (source, target) that mean the same: nouns, singular and plural.

    Args:
        source: a natural language of the corpus.
        target: another one.
    """
    ours, theirs = _nouns(source), _nouns(target)
    pairs = (
        (one, other)
        for concept, forms in ours.items()
        for one, other in zip(forms, theirs[concept], strict=True)
    )
    return list(dict.fromkeys(pairs))


def entities(text: str, language: str) -> list[tuple[int, int, str, str]]:
    """Returns the nouns and verbs of a sentence that its tables know, in order.

    Args:
        text: a sentence of the corpus.
        language: its language.

    Returns:
        (start, end, type, concept): offsets in characters, types `NOUN` and `VERB`.
    """
    pattern, known = _forms(language)
    return [
        (match.start(), match.end(), *known[match.group().lower()])
        for match in pattern.finditer(text)
    ]


def lexicon_files(language: str) -> dict[tuple[str, str], str]:
    """Returns files of the lexicons from a language into all others; writes those that are missing.

    Returns:
        (language, other language) -> path, in the cache folder.
    """
    return {
        (language, other): _written(f"{language}-{other}.tsv", lexicon(language, other))
        for other in _NOUN_COLUMNS
        if other != language
    }


def labels_file() -> str:
    """Returns a file of the names of all nouns, `concept<TAB>language<TAB>name`, in the cache."""
    labels = [
        (concept, language, forms[0])
        for language in _NOUN_COLUMNS
        for concept, forms in _nouns(language).items()
    ]
    return _written("labels.tsv", labels)


def _written(name: str, lines: Sequence[Sequence[str]]) -> str:
    """Returns the path of a file of tab-separated lines; another content has another name."""
    text = "".join("\t".join(line) + "\n" for line in lines)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    path = cache_folder() / "toy_lexicons" / f"{digest}_{name}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    return str(path)


def _nouns(language: str) -> dict[str, tuple[str, str]]:
    singular, plural = _NOUN_COLUMNS[language]
    return {
        concept: (columns[singular], columns[plural])
        for name in _NOUN_TABLES
        for concept, columns in _table(language, name).items()
    }


def _table(language: str, name: str) -> Mapping[str, Sequence[str]]:
    module = importlib.import_module(f"tasks.toy_tables.{language}")
    return getattr(module, name, {})


@functools.cache
def _forms(language: str) -> tuple[re.Pattern[str], dict[str, tuple[str, str]]]:
    """Returns a pattern of all known forms, the longest first, and form -> (type, concept)."""
    known = {
        form.replace("_", " ").lower(): (kind, concept)
        for kind, concept, form in reversed(list(_typed_forms(language)))
    }
    by_length = sorted(known, key=len, reverse=True)
    # Vowel signs are no word characters, so a word ends at a space or at punctuation.
    before, after = ("", "") if language in ("ja", "zh") else (r"(?<!\S)", r"(?=[\s.,!?।]|$)")
    alternatives = "|".join(map(re.escape, by_length))
    return re.compile(f"{before}(?:{alternatives}){after}", re.IGNORECASE), known


def _typed_forms(language: str) -> Iterator[tuple[str, str, str]]:
    for name, kind in (*((table, "NOUN") for table in _NOUN_TABLES), ("VERB_FORMS", "VERB")):
        for concept, columns in _table(language, name).items():
            for form in columns:
                # Genders and cases are letters and words of Latin script beside the forms.
                if (len(form) > 2 and form not in ("acc", "dat")) or not form.isascii():
                    yield kind, concept, form
