"""Rows of scores of one task in many languages: each language, their means, and the gap."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from xlingual.data import task_registry
from xlingual.evaluation import bootstrap
from xlingual.evaluation.example_scores import ExampleScores, Scored
from xlingual.evaluation.gold_examples import GoldExample
from xlingual.evaluation.rows import hash_texts, make_row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervals:
    """How intervals are made.

    Attributes:
      seed: of the draws.
      num_samples: resampled corpora; 0 for no intervals.
      confidence: of the intervals.
    """

    seed: int = 0
    num_samples: int = 1000
    confidence: float = 0.95

    def tags(self, scores: ExampleScores) -> dict[str, Any]:
        """Returns `low`, `high` and `confidence` of a score; nothing without intervals."""
        if not self.num_samples:
            return {}
        low, high = bootstrap.interval(
            scores.statistic,
            scores.sums,
            seed=self.seed,
            num_samples=self.num_samples,
            confidence=self.confidence,
        )
        return {"low": low, "high": high, "confidence": self.confidence}


def dataset_of(examples: Sequence[GoldExample]) -> str:
    """Returns the name of the examples of a task in results, whatever the task trains on."""
    gold = examples[0].gold
    return f"{gold['dataset']}_{gold['lang']}".replace("-", "_")


def rows_of_task(
    task: str, examples: Sequence[GoldExample], scored: Scored, intervals: Intervals, **tags: Any
) -> list[dict[str, Any]]:
    """Returns one row for each metric of a task.

    Args:
      task: registered task.
      examples: that were scored.
      scored: their scores.
      intervals: how intervals are made.
      **tags: further keys of the rows.
    """
    metadata = task_registry.task_metadata(task)
    data_hash = hash_texts(
        [one.src for one in examples], [one.example.target_text for one in examples]
    )
    common = {
        "dataset": dataset_of(examples),
        "group": examples[0].gold["dataset"],
        "lang": metadata.tgt_lang,
        "objective": metadata.objective,
        "trained": metadata.trained,
        "num_examples": len(examples),
        "data_hash": data_hash,
        **tags,
    }
    return rows_of_scores(scored.scores, intervals, **common)


def rows_of_scores(
    scores: Sequence[ExampleScores], intervals: Intervals, **tags: Any
) -> list[dict[str, Any]]:
    """Returns one row for each score.

    Args:
      scores: of one data set.
      intervals: how intervals are made.
      **tags: `dataset` and further keys of every row.
    """
    return [
        make_row(metric=one.metric, value=one.value, **intervals.tags(one), **tags)
        for one in scores
    ]


def rows_of_languages(rows: Sequence[dict[str, Any]], source_lang: str) -> list[dict[str, Any]]:
    """Returns for each data set and metric the mean of its languages, and what transfer costs.

    `METRIC_mean` is over all languages. Where the source language is among several, `METRIC_others`
    is the mean of the others, and `METRIC_gap` the score of the source language less that.

    Args:
      rows: of `rows_of_task`.
      source_lang: the language that the others are compared with.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        by_lang = values.setdefault((row["group"], row["metric"]), {})
        by_lang.setdefault(row["lang"], []).append(row["value"])
    found = []
    for (group, metric), by_lang in values.items():
        means = {lang: math.fsum(mine) / len(mine) for lang, mine in by_lang.items()}
        others = [value for lang, value in means.items() if lang != source_lang]
        summary = {"mean": math.fsum(means.values()) / len(means)}
        if others and source_lang in means:
            summary["others"] = math.fsum(others) / len(others)
            summary["gap"] = means[source_lang] - summary["others"]
        found += [
            make_row(
                metric=f"{metric}_{kind}",
                value=value,
                dataset=group,
                group=group,
                num_languages=len(others) if kind == "others" else len(means),
            )
            for kind, value in summary.items()
        ]
    return found


def scalars_of(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns `METRIC/DATASET` -> value of every row, for the log of a run."""
    return {f"{row['metric']}/{row['dataset']}": row["value"] for row in rows}
