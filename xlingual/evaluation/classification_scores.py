"""Accuracy and macro F1 of labels that a model writes as text.

A text that is none of the labels is wrong, and counts as found for no class (T5: Raffel et al.,
2020, JMLR 21(140), section 2.4).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.evaluation import example_scores
from xlingual.evaluation.example_scores import ExampleScores, Scored


def score_labels(golds: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scored:
    """Returns `accuracy`, `macro_f1` and `invalid` (texts that are no label), in [0, 100].

    Macro F1 is the mean over all labels of the examples: those that they name as possible, whether
    one of them has it or not; as in scikit-learn's `f1_score(..., labels=labels,
    average='macro', zero_division=0)`.

    Args:
      golds: `label` and `labels`, the possible ones; at least one.
      predictions: as many texts.
    """
    labels = sorted({label for gold in golds for label in (*gold.get("labels", ()), gold["label"])})
    place = {label: i for i, label in enumerate(labels)}
    texts = [" ".join(text.split()) for text in predictions]
    sums = np.zeros((len(golds), 3, len(labels)))
    for row, gold, text in zip(sums, golds, texts, strict=True):
        row[2, place[gold["label"]]] = 1
        if text in place:
            row[1, place[text]] = 1
            row[0, place[text]] = text == gold["label"]
    macro = functools.partial(_macro_f1, len(labels))
    return Scored(
        scores=[
            example_scores.percent("accuracy", sums[:, 0].sum(axis=1)),
            ExampleScores("macro_f1", sums.reshape(len(golds), -1), macro),
            example_scores.percent("invalid", 1 - sums[:, 1].sum(axis=1)),
        ],
        details=[
            {"gold": gold["label"], "prediction": text, "correct": text == gold["label"]}
            for gold, text in zip(golds, texts, strict=True)
        ],
    )


def _macro_f1(num_labels: int, sums: np.ndarray) -> np.ndarray:
    """Sums [samples, 3 * labels] (right, found, gold) -> [samples] in [0, 100]."""
    right, found, gold = np.moveaxis(sums.reshape(len(sums), 3, num_labels), 1, 0)
    return 100.0 * example_scores.ratio(2 * right, found + gold).mean(axis=1)
