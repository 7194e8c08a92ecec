"""Understanding tasks answered by writing: accuracy, F1 and exact match for each language.

A model that was fine-tuned on the source language shows in the others what it transfers: the gap
between the source language and the mean of the others is the cross-lingual transfer gap.

References:
  Hu et al., 2020, "XTREME: A Massively Multilingual Multi-task Benchmark for Evaluating
  Cross-lingual Generalization" (arXiv:2003.11080), section 4.2.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xlingual.data.base import BatchSource
from xlingual.errors import ConfigError
from xlingual.evaluation import answer_scores, classification_scores, gold_examples, tagging_scores
from xlingual.evaluation.example_scores import Scored
from xlingual.evaluation.example_writer import ExampleWriter
from xlingual.evaluation.gold_examples import GoldExample
from xlingual.evaluation.language_rows import (
    Intervals,
    dataset_of,
    rows_of_languages,
    rows_of_task,
    scalars_of,
)
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Sample
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

METRICS: Mapping[str, Callable[[Sequence[Mapping[str, Any]], Sequence[str]], Scored]] = {
    "label": classification_scores.score_labels,
    "answers": answer_scores.score_answers,
    "spans": tagging_scores.score_spans,
    "tags": tagging_scores.score_tags,
}
"""Kind of examples -> what scores their predictions."""


@dataclasses.dataclass(kw_only=True)
class UnderstandingEvaluator:
    """Lets the model write the answer of each example greedily, and scores the texts.

    Attributes:
      tasks: tasks and mixtures of `tasks/understanding.py`; without any, nothing is evaluated.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      split: the split that is read.
      num_examples: examples of each task, at most.
      batch_size: rows that are decoded together.
      max_decode_length: tokens written at most; None takes the limit of `targets`.
      source_lang: the language that the others are compared with.
      seed: which records, and the draws of the intervals.
      num_samples: resampled corpora of an interval; 0 for no intervals.
      samples_per_task: examples that are kept to show.
      name: short name of the evaluator.
    """

    tasks: Sequence[str]
    task_feature_lengths: Mapping[str, int]
    split: str = "validation"
    num_examples: int = 1000
    batch_size: int = 64
    max_decode_length: int | None = None
    source_lang: str = "en"
    seed: int = 0
    num_samples: int = 1000
    samples_per_task: int = 1
    name: str = "understanding"
    _examples: dict[str, list[GoldExample]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Loads the examples and builds the decoder.

        Raises:
          ConfigError: a task is unknown, is no understanding task, or has no example of the split;
            the batch does not divide over the mesh; a number is below 1; or answers are in a
            language that their normalisation has no rules for.
        """
        del losses, source
        max_length = self.max_decode_length
        if max_length is None:
            max_length = self.task_feature_lengths["targets"]
        if min(self.num_examples, max_length) < 1:
            raise ConfigError(
                f"UnderstandingEvaluator.num_examples={self.num_examples}, "
                f"max_decode_length={max_length}; expected at least 1"
            )
        partitioner.check_batch_size(self.batch_size)
        self._examples = gold_examples.load_gold_examples(
            gold_examples.leaf_tasks(self.tasks),
            split=self.split,
            num_examples=self.num_examples,
            task_feature_lengths=self.task_feature_lengths,
            seed=self.seed,
        )
        if not self._examples:
            return
        for mine in self._examples.values():
            _score(mine[:1], [""])
        longest = max(len(one.example.inputs) for mine in self._examples.values() for one in mine)
        self._write = ExampleWriter(
            model,
            partitioner,
            batch_size=self.batch_size,
            max_length=max_length,
            longest_inputs=longest,
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns rows for each language, and for each data set the means and the gap."""
        examples = [one.example for mine in self._examples.values() for one in mine]
        texts = self._write(params, examples) if examples else []
        intervals = Intervals(seed=self.seed, num_samples=self.num_samples)
        rows, details, samples = [], {}, []
        for task, mine in self._examples.items():
            written, texts = texts[: len(mine)], texts[len(mine) :]
            scored = _score(mine, written)
            rows += rows_of_task(task, mine, scored, intervals)
            details[dataset_of(mine)] = [
                {"id": one.gold["id"], "source": one.src, **detail}
                for one, detail in zip(mine, scored.details, strict=True)
            ]
            samples += [
                Sample(task=task, source=one.src, target=one.example.target_text, prediction=text)
                for one, text in list(zip(mine, written, strict=True))[: self.samples_per_task]
            ]
        rows += rows_of_languages(rows, self.source_lang)
        return Evaluation(
            scalars=scalars_of(rows), results={}, samples=samples, rows=rows, details=details
        )


def _score(examples: Sequence[GoldExample], texts: Sequence[str]) -> Scored:
    kinds = {one.gold["kind"] for one in examples}
    if len(kinds) != 1 or not kinds <= set(METRICS):
        raise ConfigError(f"examples are of the kinds {sorted(kinds)}; expected {list(METRICS)}")
    return METRICS[kinds.pop()]([one.gold for one in examples], texts)
