"""Exact match and F1 of answers, by the normalisations of SQuAD and of MLQA.

References:
  Rajpurkar et al., 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text"
  (arXiv:1606.05250); Lewis et al., 2020, "MLQA: Evaluating Cross-lingual Extractive Question
  Answering" (arXiv:1910.07475), section 5, with the articles and the segmentation of its script.
"""

import collections
import functools
import re
import string
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xlingual.errors import ConfigError
from xlingual.evaluation import example_scores
from xlingual.evaluation.example_scores import Scored

NORMALIZATIONS = ("squad", "mlqa")
_ASCII = frozenset(string.punctuation)
_ENGLISH_ARTICLES = r"\b(a|an|the)\b"
_ARTICLES: Mapping[str, str | None] = {
    "en": _ENGLISH_ARTICLES,
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "hi": None,
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": r"\sال^|ال",
    "zh": None,
}
"""Language of MLQA -> its articles, as a pattern."""
_HAN = re.compile(r"([\u4e00-\u9fa5])")


def normalize_squad(text: str) -> str:
    """Returns an answer in lower case, without ASCII punctuation and English articles.

    >>> normalize_squad("The  Cat's hat.")
    'cats hat'
    """
    kept = "".join(char for char in text.lower() if char not in _ASCII)
    return " ".join(re.sub(_ENGLISH_ARTICLES, " ", kept).split())


def normalize_mlqa(text: str, lang: str) -> str:
    """Returns an answer in lower case, without any punctuation and the articles of its language.

    Han characters of Chinese become words of their own.

    >>> normalize_mlqa("Die Stadt „Köln“", "de"), normalize_mlqa("在1990年。", "zh")
    ('stadt köln', '在 1990 年')

    Args:
      text: the answer.
      lang: one of the seven languages of MLQA; codes such as `zh-Hans` and `zho_Hans` do too.

    Raises:
      ConfigError: another language.
    """
    code = mlqa_language(lang)
    kept = "".join(char for char in text.lower() if char not in _punctuation())
    articles = _ARTICLES[code]
    if articles is not None:
        kept = re.sub(articles, " ", kept)
    if code == "zh":
        kept = _HAN.sub(r" \1 ", kept)
    return " ".join(kept.split())


def mlqa_language(lang: str) -> str:
    """Returns the code that MLQA has for a language.

    Raises:
      ConfigError: it is none of MLQA's.
    """
    three = {"eng": "en", "spa": "es", "hin": "hi", "deu": "de", "arb": "ar", "ara": "ar"}
    three |= {"vie": "vi", "zho": "zh"}  # codespell:ignore vie
    first = re.split(r"[-_]", lang)[0]
    code = three.get(first, first)
    if code not in _ARTICLES:
        raise ConfigError(
            f"lang={lang!r} has no rules in the normalisation of MLQA, only {list(_ARTICLES)}; "
            "expected normalization='squad'"
        )
    return code


def make_normalize(normalization: str, lang: str) -> Callable[[str], str]:
    """Returns the normalisation by its name.

    Raises:
      ConfigError: the name is unknown, or MLQA lacks the language.
    """
    if normalization not in NORMALIZATIONS:
        raise ConfigError(f"normalization={normalization!r}; expected one of {NORMALIZATIONS}")
    if normalization == "squad":
        return normalize_squad
    return functools.partial(normalize_mlqa, lang=mlqa_language(lang))


def answer_f1(answer: str, prediction: str) -> float:
    """Returns the F1 of the words of two normalised texts, in [0, 1]; 0 if both are empty."""
    right, found = answer.split(), prediction.split()
    common = sum((collections.Counter(right) & collections.Counter(found)).values())
    return 2 * common / (len(right) + len(found)) if common else 0.0


def score_answers(golds: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scored:
    """Returns `exact_match` and `f1`, the best over the answers of each question, in [0, 100].

    Args:
      golds: `answers` (texts), `normalization` and `lang`.
      predictions: as many texts.

    Raises:
      ConfigError: a normalisation is unknown or lacks the language.
    """
    details: list[dict[str, Any]] = []
    for gold, text in zip(golds, predictions, strict=True):
        normalize = make_normalize(gold["normalization"], gold["lang"])
        answers, found = [normalize(answer) for answer in gold["answers"]], normalize(text)
        details.append(
            {
                "gold": list(gold["answers"]),
                "prediction": text,
                "exact_match": max(float(answer == found) for answer in answers),
                "f1": max(answer_f1(answer, found) for answer in answers),
            }
        )
    names = ("exact_match", "f1")
    scores = [example_scores.percent(name, [one[name] for one in details]) for name in names]
    return Scored(scores=scores, details=details)


@functools.cache
def _punctuation() -> frozenset[str]:
    """Every character of Unicode whose category begins with P, and ASCII's punctuation."""
    categories = (chr(i) for i in range(sys.maxunicode))
    return _ASCII | {char for char in categories if unicodedata.category(char).startswith("P")}
