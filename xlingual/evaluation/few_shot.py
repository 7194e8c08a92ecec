"""Rank classification with examples in the prompt: which label does the model find most probable?

No parameter changes. A prompt has some solved examples of the train split and the example in
question, and each label is scored as its continuation:

    one text      x1 y1 // x2 y2 // x | y         as language models are prompted
    two texts     x1 y1 // x2 y2 // x $ | y $     inputs and targets, as trained here

References:
  Brown et al., 2020, "Language Models are Few-Shot Learners" (arXiv:2005.14165), section 2.4; Lin
  et al., 2022, "Few-shot Learning with Multilingual Generative Language Models" (arXiv:2112.10668).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from xlingual.data import task_checks
from xlingual.data.base import BatchSource
from xlingual.errors import ConfigError
from xlingual.evaluation import classification_scores, gold_examples
from xlingual.evaluation.decoding_batches import make_shapes
from xlingual.evaluation.example_scores import Scored
from xlingual.evaluation.gold_examples import GoldExample
from xlingual.evaluation.language_rows import (
    Intervals,
    dataset_of,
    rows_of_languages,
    rows_of_task,
    scalars_of,
)
from xlingual.evaluation.likelihood import Likelihood, Scorer
from xlingual.evaluation.scoring_batches import Pair
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.objectives.code_whitespace import escape_control
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

NORMALIZATIONS = ("sum", "tokens", "bytes")
"""What a label's log-likelihood is divided by: nothing, its tokens, or the bytes of its text."""
_INPUTS, _TARGETS = "{inputs}", "{targets}"


@dataclasses.dataclass(kw_only=True)
class FewShotEvaluator:
    """Takes the most probable label of each example of classification tasks.

    Attributes:
      tasks: classification tasks and mixtures of `tasks/understanding.py`.
      max_inputs: longest prompt in tokens; what is too long loses its beginning.
      max_targets: longest label in tokens.
      num_shots: solved examples in a prompt.
      shots_task: task that they come from, e.g. the English one; None for the task's own.
      shots_split: split that they come from.
      split: the split that is asked.
      num_examples: examples of each task, at most.
      template: how an example is written; ends with `{targets}`.
      shot_separator: between examples.
      label_texts: label -> how it is written; labels that are missing are written as they are.
      two_texts: whether prompt and label are inputs and targets, each with EOS, as trained here.
      normalization: one of `NORMALIZATIONS`.
      batch_size: labels that are scored together.
      source_lang: the language that the others are compared with.
      seed: which examples and shots, and the draws of the intervals.
      num_samples: resampled corpora of an interval; 0 for no intervals.
      name: short name of the evaluator.
    """

    tasks: Sequence[str]
    max_inputs: int = 512
    max_targets: int = 32
    num_shots: int = 0
    shots_task: str | None = None
    shots_split: str = "train"
    split: str = "validation"
    num_examples: int = 1000
    template: str = "{inputs} {targets}"
    shot_separator: str = "\n\n"
    label_texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    two_texts: bool = False
    normalization: str = "sum"
    batch_size: int = 32
    source_lang: str = "en"
    seed: int = 0
    num_samples: int = 1000
    name: str = "few_shot"
    _examples: dict[str, list[GoldExample]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )
    _pairs: list[Pair] = dataclasses.field(default_factory=list, init=False, repr=False)

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Loads the examples and writes the prompts.

        Raises:
          ConfigError: a task is unknown or no classification, lacks a split, or has fewer examples
            than shots; a setting is out of range; a label is longer than `max_targets`; or the
            batch does not divide over the mesh.
        """
        del losses, source
        self._check_settings()
        partitioner.check_batch_size(self.batch_size)
        self._examples = self._load(
            gold_examples.leaf_tasks(self.tasks), self.split, self.num_examples
        )
        self._pairs = [
            pair
            for task, mine in self._examples.items()
            for pair in self._pairs_of(task, mine, self._load_shots(task))
        ]
        shards = partitioner.num_batch_shards
        self._score = Scorer(
            model,
            None,
            partitioner,
            inputs_shapes=make_shapes(self.batch_size, self.max_inputs, num_shards=shards),
            targets_shapes=make_shapes(self.batch_size, self.max_targets, num_shards=shards),
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns rows for each language, and for each data set the means and the gap."""
        found = iter(self._score.with_params(params)(self._pairs))
        intervals = Intervals(seed=self.seed, num_samples=self.num_samples)
        rows, details = [], {}
        for task, mine in self._examples.items():
            values = [self._values(one, found) for one in mine]
            scored = _score([one.gold for one in mine], values)
            rows += rows_of_task(task, mine, scored, intervals, signature=self.signature)
            details[dataset_of(mine)] = [
                {"id": one.gold["id"], "source": one.src, **detail, "scores": value}
                for one, detail, value in zip(mine, scored.details, values, strict=True)
            ]
        rows += rows_of_languages(rows, self.source_lang)
        return Evaluation(scalars=scalars_of(rows), results={}, rows=rows, details=details)

    @property
    def signature(self) -> str:
        """What the scores depend on beside model and data."""
        texts = "two" if self.two_texts else "one"
        return (
            f"rank|shots:{self.num_shots}|from:{self.shots_task or 'own'}|norm:{self.normalization}"
            f"|texts:{texts}|seed:{self.seed}"
        )

    def _check_settings(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            raise ConfigError(
                f"normalization={self.normalization!r}; expected one of {NORMALIZATIONS}"
            )
        if not self.template.endswith(_TARGETS) or self.template.count(_INPUTS) != 1:
            raise ConfigError(
                f"template={self.template!r}; expected {_INPUTS} once, and {_TARGETS} at the end"
            )
        if self.num_shots < 0 or min(self.num_examples, self.max_inputs, self.max_targets) < 1:
            raise ConfigError(
                f"num_shots={self.num_shots}, num_examples={self.num_examples}, max_inputs="
                f"{self.max_inputs}, max_targets={self.max_targets}; expected shots >= 0, else >= 1"
            )

    def _load(self, tasks: Sequence[str], split: str, count: int) -> dict[str, list[GoldExample]]:
        found = gold_examples.load_gold_examples(
            tasks,
            split=split,
            num_examples=count,
            task_feature_lengths={"inputs": 8, "targets": 8},  # prompts are encoded from the texts
            seed=self.seed,
        )
        for task, mine in found.items():
            if any("label" not in one.gold for one in mine):
                raise ConfigError(f"task {task!r} has no labels; expected classification")
        return found

    def _load_shots(self, task: str) -> list[GoldExample]:
        if not self.num_shots:
            return []
        name = self.shots_task or task
        (shots,) = self._load([name], self.shots_split, self.num_shots).values()
        if len(shots) < self.num_shots:
            raise ConfigError(
                f"task {name!r} has {len(shots)} examples; expected num_shots={self.num_shots}"
            )
        return shots

    def _pairs_of(
        self, task: str, examples: Sequence[GoldExample], shots: Sequence[GoldExample]
    ) -> list[Pair]:
        """Returns prompt and label of every label of every example."""
        vocabulary = task_checks.load_vocabulary_of(seqio.TaskRegistry.get(task))
        solved = [self._write(one, one.gold["label"]) for one in shots]
        pairs = []
        for one in examples:
            prompt = self.shot_separator.join([*solved, self._write(one, None)])
            for label in one.gold["labels"]:
                pairs.append(self._encode(vocabulary, prompt, self._text(label)))
        return pairs

    def _write(self, one: GoldExample, label: str | None) -> str:
        begin = self.template.removesuffix(_TARGETS).replace(_INPUTS, one.src)
        return begin.rstrip(" ") if label is None else begin + self._text(label)

    def _text(self, label: str) -> str:
        return self.label_texts.get(label, label)

    def _encode(self, vocabulary: seqio.Vocabulary, prompt: str, label: str) -> Pair:
        """Returns a prompt and a label as ids.

        In one text the label is what the whole has more than the prompt, so that a tokenizer that
        puts the space before a word into its piece does so here.
        """
        before = list(vocabulary.encode(escape_control(prompt)))
        if self.two_texts:
            before = [*before, vocabulary.eos_id]
            after = [*vocabulary.encode(escape_control(label)), vocabulary.eos_id]
        else:
            space = " " if self.template.removesuffix(_TARGETS).endswith(" ") else ""
            whole = list(vocabulary.encode(escape_control(prompt + space + label)))
            after = whole[len(before) :]
            if whole[: len(before)] != before or not after:
                after = list(vocabulary.encode(escape_control(label)))
        if len(after) > self.max_targets:
            raise ConfigError(
                f"label {label!r} has {len(after)} tokens; expected max_targets={self.max_targets}"
            )
        return np.asarray(before[-self.max_inputs :], np.int32), np.asarray(after, np.int32)

    def _values(self, one: GoldExample, found: Any) -> dict[str, float]:
        """Returns label -> its score, for the next labels of an iterator of likelihoods."""
        values = {}
        for label in one.gold["labels"]:
            likelihood: Likelihood = next(found)
            size = {
                "sum": 1,
                "tokens": len(likelihood.tokens),
                "bytes": len(self._text(label).encode("utf-8")),
            }[self.normalization]
            values[label] = likelihood.total / size
        return values


def _score(golds: Sequence[Mapping[str, Any]], values: Sequence[Mapping[str, float]]) -> Scored:
    """Returns the scores of the best label of each example; of equal ones the first."""
    best = [max(value, key=value.__getitem__) for value in values]
    scored = classification_scores.score_labels(golds, best)
    kept = [one for one in scored.scores if one.metric != "invalid"]
    return Scored(scores=kept, details=scored.details)
