"""Named entities and tags that a model writes as text: span F1 and tag accuracy.

mT5 writes the entities of a sentence as `PER: Ada Lovelace $$ LOC: London`; nothing where it has
none. Two scores are of use: mT5's, over pairs of a type and a text, and that of CoNLL, over places
in the sentence, for which each text that was written takes its first free place.

References:
  Xue et al., 2021, "mT5: A Massively Multilingual Pre-trained Text-to-Text Transformer"
  (arXiv:2010.11934); Tjong Kim Sang and De Meulder, 2003, "Introduction to the CoNLL-2003 Shared
  Task" (the definition that the package seqeval implements).
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from xlingual.evaluation import classification_scores, example_scores
from xlingual.evaluation.example_scores import Scored

DELIMITER = " $$ "
Span = tuple[str, int, int]
"""Type, and the places of its first word and behind its last."""


def bio_spans(tags: Sequence[str]) -> list[Span]:
    """Returns the entities of BIO tags as the script of CoNLL reads them.

    A span begins at `B-`, and at an `I-` behind `O` or behind another type.

    >>> bio_spans(["B-PER", "I-PER", "O", "I-LOC", "I-ORG"])
    [('PER', 0, 2), ('LOC', 3, 4), ('ORG', 4, 5)]
    """
    spans: list[Span] = []
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, found = tag.partition("-")
        found = "" if prefix == "O" else found or "_"
        if kind and (prefix == "B" or found != kind):
            spans.append((kind, start, place))
            kind = ""
        if found and not kind:
            kind, start = found, place
    return spans


def write_spans(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """Returns the entities of a sentence as mT5 writes them.

    >>> write_spans("Ada Lovelace lived in London".split(), ["B-PER", "I-PER", "O", "O", "B-LOC"])
    'PER: Ada Lovelace $$ LOC: London'
    """
    found = bio_spans(tags)
    return DELIMITER.join(f"{kind}: {' '.join(tokens[i:j])}" for kind, i, j in found)


def read_spans(text: str) -> list[tuple[str, str]]:
    """Returns the types and texts of written entities; parts without exactly one colon are none."""
    parts = [part.split(":") for part in text.split(DELIMITER)]
    return [(part[0].strip(), part[1].strip()) for part in parts if len(part) == 2]


def place_spans(text: str, tokens: Sequence[str]) -> list[Span]:
    """Returns the places of written entities in a sentence, each the first that is still free.

    An entity whose words do not stand there has the places (-1, -1), which match nothing. Of
    several colons the first ends the type.
    """
    free = [True] * len(tokens)
    spans: list[Span] = []
    for part in filter(str.strip, text.split(DELIMITER)):
        kind, _, words = part.partition(":")
        wanted = words.split()
        place = _find(wanted, tokens, free)
        free[place : place + len(wanted)] = [False] * len(wanted) if place >= 0 else []
        end = place + len(wanted) if place >= 0 else -1
        spans.append((kind.strip(), place, end))
    return spans


def score_spans(golds: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scored:
    """Returns `span_f1` (mT5's) and `entity_f1` (that of seqeval), in [0, 100].

    Args:
      golds: `tokens` and BIO `tags`.
      predictions: as many texts.
    """
    counts: dict[str, list[tuple[int, int, int]]] = {"span_f1": [], "entity_f1": []}
    details = []
    for gold, text in zip(golds, predictions, strict=True):
        reference = write_spans(gold["tokens"], gold["tags"])
        spans, places = bio_spans(gold["tags"]), place_spans(text, gold["tokens"])
        counts["span_f1"].append(_overlap(read_spans(text), read_spans(reference)))
        counts["entity_f1"].append(_overlap(places, spans))
        details.append({"gold": reference, "prediction": text, "correct": text == reference})
    return Scored(
        scores=[
            example_scores.f1(name, *map(list, zip(*rows, strict=True)))
            for name, rows in counts.items()
        ],
        details=details,
    )


def score_tags(golds: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scored:
    """Returns `tag_accuracy`, `tag_macro_f1` over all words, and `exact_match` of sentences.

    The first tag that was written belongs to the first word, and so on; words for which none was
    written are wrong, and tags behind the last word do not count, but in `exact_match`.

    Args:
      golds: `tags`, one a word.
      predictions: as many texts, tags with spaces between.
    """
    words, written, rights, totals, exact, details = [], [], [], [], [], []
    for gold, text in zip(golds, predictions, strict=True):
        tags, found = list(gold["tags"]), text.split()
        aligned = [*found[: len(tags)], *[""] * (len(tags) - len(found))]
        words += [{"label": tag} for tag in tags]
        written += aligned
        rights.append(sum(a == b for a, b in zip(tags, aligned, strict=True)))
        totals.append(len(tags))
        exact.append(float(found == tags))
        details.append({"gold": " ".join(tags), "prediction": text, "correct": found == tags})
    macro = classification_scores.score_labels(words, written).scores[1]
    return Scored(
        scores=[
            example_scores.share("tag_accuracy", rights, totals),
            example_scores.grouped("tag_macro_f1", macro, totals),
            example_scores.percent("exact_match", exact),
        ],
        details=details,
    )


def _find(wanted: Sequence[str], tokens: Sequence[str], free: Sequence[bool]) -> int:
    """Returns where some words stand at free places; -1 if nowhere or if there are none."""
    for start in range(len(tokens) - len(wanted) + 1 if wanted else 0):
        end = start + len(wanted)
        if list(tokens[start:end]) == list(wanted) and all(free[start:end]):
            return start
    return -1


def _overlap(found: Sequence[Any], gold: Sequence[Any]) -> tuple[int, int, int]:
    """Returns how many items two lists share, and their lengths."""
    common = collections.Counter(found) & collections.Counter(gold)
    return sum(common.values()), len(found), len(gold)
