"""Greedy translation of held-out examples, scored per direction, trained and zero-shot apart.

Zero-shot directions are those whose task says `trained=False`: the mixture never pairs their two
languages. The chrF of the untranslated source (`copy_chrf`) is the floor that a score must exceed
to mean anything; it is high between languages that share words, and between text and code. With a
pivot, zero-shot directions are translated through it as well, in two hops (`two_hop`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from xlingual.data import evaluation_sets, task_registry
from xlingual.data.base import BatchSource
from xlingual.data.evaluation_sets import EvaluationExample
from xlingual.errors import ConfigError
from xlingual.evaluation.bootstrap import mean_of
from xlingual.evaluation.example_writer import ExampleWriter
from xlingual.evaluation.rows import mean_rows
from xlingual.evaluation.scores import chrf_of_texts
from xlingual.evaluation.translation_rows import (
    ScoredTranslations,
    Translations,
    score_translations,
)
from xlingual.evaluation.two_hop import SUFFIX, TwoHop
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Sample
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

_T = TypeVar("_T")


@dataclasses.dataclass(kw_only=True)
class TranslationEvaluator:
    """Translates examples of each task greedily and scores them by sacrebleu.

    Attributes:
      tasks: registered task or mixture names; a mixture stands for its tasks. Each task has one
        direction. Without any, nothing is translated.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      split: the split that is read.
      num_examples: examples of each task, at most.
      batch_size: rows that are decoded together.
      max_decode_length: tokens written at most; None takes the limit of `targets`.
      seed: which records.
      samples_per_task: decoded examples that are kept to show, at other places for each task.
      name: short name of the evaluator.
      pivot_lang: language through which zero-shot directions between two others are translated
        too, in two hops; None for none.
      pivot_format: of the inputs of these tasks (`text_requests.FORMATS`).
      bootstrap_samples: resampled corpora of each confidence interval; 0 for no intervals.
    """

    tasks: Sequence[str]
    task_feature_lengths: Mapping[str, int]
    split: str = "test"
    num_examples: int = 32
    batch_size: int = 64
    max_decode_length: int | None = None
    seed: int = 0
    samples_per_task: int = 1
    name: str = "translation"
    pivot_lang: str | None = None
    pivot_format: str = "tag"
    bootstrap_samples: int = 1000
    _two_hop: TwoHop | None = dataclasses.field(default=None, init=False, repr=False)
    _examples: list[EvaluationExample] = dataclasses.field(
        default_factory=list, init=False, repr=False
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
          ConfigError: a task is unknown (the message has the nearest names) or empty, the batch
            does not divide over the mesh, or `num_examples` or the decoding length is below 1.
        """
        del losses, source
        max_length = self.max_decode_length
        if max_length is None:
            max_length = self.task_feature_lengths["targets"]
        if min(self.num_examples, max_length) < 1:
            raise ConfigError(
                f"TranslationEvaluator.num_examples={self.num_examples}, "
                f"max_decode_length={max_length}; expected at least 1"
            )
        partitioner.check_batch_size(self.batch_size)
        tasks = [leaf for name in self.tasks for leaf in task_registry.leaf_shares(name)[0]]
        if not tasks:
            self._examples = []
            return
        examples = evaluation_sets.load_examples_of(
            list(dict.fromkeys(tasks)),
            split=self.split,
            num_examples=self.num_examples,
            task_feature_lengths=self.task_feature_lengths,
            seed=self.seed,
        )
        self._examples = [example for of_task in examples.values() for example in of_task]
        longest = max(len(example.inputs) for example in self._examples)
        if self.pivot_lang is not None:
            longest = max(longest, self.task_feature_lengths["inputs"])
            self._two_hop = TwoHop(
                examples,
                pivot_lang=self.pivot_lang,
                text_format=self.pivot_format,
                max_inputs=self.task_feature_lengths["inputs"],
            )
        self._write = ExampleWriter(
            model,
            partitioner,
            batch_size=self.batch_size,
            max_length=max_length,
            longest_inputs=longest,
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the scores of every direction and their means, in [0, 100]."""
        translated: dict[str, list[tuple[EvaluationExample, str]]] = {}
        texts = self._write(params, self._examples) if self._examples else []
        for example, text in zip(self._examples, texts, strict=True):
            translated.setdefault(example.task, []).append((example, text))
        names = direction_names(list(translated))
        scored = {task: self._score(pairs) for task, pairs in translated.items()}
        directions = {
            names[task]: _results(task, pairs, scored[task]) for task, pairs in translated.items()
        }
        details = {task: found.details for task, found in scored.items()}
        rows = [row for found in scored.values() for row in found.rows]
        for task, found in self._through_pivot(params).items():
            scores = found.scores
            directions[names[task]]["two_hop"] = {"bleu": scores.bleu, "chrf": scores.chrf}
            details[f"{task}{SUFFIX}"] = found.details
            rows += found.rows
        samples = [
            Sample(
                task=task, source=example.source_text, target=example.target_text, prediction=text
            )
            for number, (task, pairs) in enumerate(translated.items())
            for example, text in _spread(pairs, number, self.samples_per_task)
        ]
        return Evaluation(
            scalars=_means(directions),
            results={"directions": directions},
            samples=samples,
            rows=[*rows, *_mean_rows(rows)],
            details=details,
        )

    def _score(
        self, pairs: Sequence[tuple[EvaluationExample, str]], suffix: str = ""
    ) -> ScoredTranslations:
        """Returns the scores of the translations of one task."""
        metadata = task_registry.task_metadata(pairs[0][0].task)
        texts = Translations(
            dataset=metadata.name,
            src_lang=metadata.src_lang,
            tgt_lang=metadata.tgt_lang,
            objective=metadata.objective,
            trained=metadata.trained,
            sources=[example.source_text for example, _ in pairs],
            references=[example.target_text for example, _ in pairs],
            predictions=[text for _, text in pairs],
        )
        return score_translations(
            texts, seed=self.seed, num_samples=self.bootstrap_samples, suffix=suffix
        )

    def _through_pivot(self, params: PyTree) -> dict[str, ScoredTranslations]:
        """Returns the scores of the directions that are translated in two hops."""
        if self._two_hop is None:
            return {}
        examples = self._two_hop.examples
        first = self._write(params, examples, self._two_hop.first_inputs)
        second = self._write(params, examples, self._two_hop.second_inputs(first))
        found: dict[str, list[tuple[EvaluationExample, str]]] = {}
        for example, text in zip(examples, second, strict=True):
            found.setdefault(example.task, []).append((example, text))
        return {task: self._score(pairs, SUFFIX) for task, pairs in found.items()}


def _spread(items: Sequence[_T], first: int, count: int) -> list[_T]:
    """Returns `count` items in order, from the one at `first` on and round the end.

    Tasks often share their sources: they show different ones when they begin at different places.
    """
    places = {(first + i) % len(items) for i in range(count)} if items else set()
    return [items[place] for place in sorted(places)]


def direction_names(tasks: Sequence[str]) -> dict[str, str]:
    """Returns a name for each task: `de-en`, or more where that would name two tasks.

    Tasks of one direction get their objective too, `de-en (ptlm)`, and those of one direction and
    objective their own name, `de-en (de_en_news)`; a task without languages goes by its own name.

    Args:
      tasks: registered task names.

    Raises:
      ConfigError: a task is unknown.
    """
    metadata = {task: task_registry.task_metadata(task) for task in tasks}
    short = {task: f"{data.src_lang}-{data.tgt_lang}" for task, data in metadata.items()}
    longer = {task: f"{short[task]} ({data.objective})" for task, data in metadata.items()}
    names = {}
    for task in tasks:
        if short[task] == "-":
            names[task] = task
        elif list(short.values()).count(short[task]) == 1:
            names[task] = short[task]
        elif list(longer.values()).count(longer[task]) == 1:
            names[task] = longer[task]
        else:
            names[task] = f"{short[task]} ({task})"
    return names


def _results(
    task: str, pairs: Sequence[tuple[EvaluationExample, str]], scored: ScoredTranslations
) -> dict[str, Any]:
    """Returns the scores of one task for `results.json`, and those of its sources as they are."""
    metadata, scores = task_registry.task_metadata(task), scored.scores
    copied = chrf_of_texts(
        [example.source_text for example, _ in pairs],
        [example.target_text for example, _ in pairs],
    )
    rates = {name: float(mean_of(sums.sum(0)[None])[0]) for name, sums in scored.rates.items()}
    return {
        "task": task,
        "trained": metadata.trained,
        "bleu": scores.bleu,
        "chrf": scores.chrf,
        "chrf++": scores.chrf_plus_plus,
        "copy_chrf": copied,
        **rates,
        "exact_match": 100.0 * rates["exact_match"],
        "num_examples": len(pairs),
        "bleu_signature": scores.bleu_signature,
        "chrf_signature": scores.chrf_signature,
        "chrf++_signature": scores.chrf_plus_plus_signature,
    }


def _mean_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the means over trained and over zero-shot directions."""
    means = []
    for kind, trained in (("mean_trained", True), ("mean_zero_shot", False)):
        chosen = [row for row in rows if row["trained"] == trained]
        means += mean_rows(chosen, dataset=kind, trained=trained)
    return means


def _means(directions: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns the chrF of each direction, and means over trained and over zero-shot directions."""
    scalars = {f"chrf/{name}": float(row["chrf"]) for name, row in directions.items()}
    for kind, trained in (("trained", True), ("zero_shot", False)):
        rows = [row for row in directions.values() if row["trained"] == trained]
        for metric in ("bleu", "chrf", "copy_chrf"):
            if rows:
                mean = float(np.mean([row[metric] for row in rows]))
                scalars[f"{metric}/mean_{kind}"] = mean
    return scalars
