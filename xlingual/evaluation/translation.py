"""Greedy translation of held-out examples, scored per direction, trained and zero-shot apart.

Zero-shot directions are those whose task says `trained=False`: the mixture never pairs their two
languages. The chrF of the untranslated source (`copy_chrf`) is the floor that a score must exceed
to mean anything; it is high between languages that share words, and between text and code.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from xlingual.data import evaluation_sets, task_registry
from xlingual.data.base import BatchSource
from xlingual.data.evaluation_sets import EvaluationExample
from xlingual.decoding.greedy import greedy_decode
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import BatchShapes, decode_all
from xlingual.evaluation.scores import score_corpus
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Sample
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import Array, Batch, PyTree

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
        # One shape, so one compilation; a multiple of 8 suits the devices.
        self._shapes = BatchShapes(rows=(self.batch_size,), lengths=(-(-longest // 8) * 8,))
        self._partitioner = partitioner
        self._decode = partitioner.jit(
            functools.partial(_decode, model, max_length),
            out_shardings=partitioner.replicated,
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the scores of every direction and their means, in [0, 100]."""
        translated: dict[str, list[tuple[EvaluationExample, str]]] = {}
        for example, text in zip(self._examples, self._translate(params), strict=True):
            translated.setdefault(example.task, []).append((example, text))
        names = direction_names(list(translated))
        directions = {names[task]: _score(task, pairs) for task, pairs in translated.items()}
        samples = [
            Sample(
                task=task, source=example.source_text, target=example.target_text, prediction=text
            )
            for number, (task, pairs) in enumerate(translated.items())
            for example, text in _spread(pairs, number, self.samples_per_task)
        ]
        return Evaluation(
            scalars=_means(directions), results={"directions": directions}, samples=samples
        )

    def _translate(self, params: PyTree) -> list[str]:
        """Returns the decoded text of every example, in order; short examples go together."""
        lengths = [len(example.targets) for example in self._examples]
        if not lengths:
            return []
        written = decode_all(
            [example.inputs for example in self._examples],
            lambda batch, _: self._decode(params, batch),
            partitioner=self._partitioner,
            shapes=self._shapes,
            order=sorted(range(len(lengths)), key=lengths.__getitem__),
        )
        return [
            evaluation_sets.text_decoder(example.task).text(ids)
            for example, ids in zip(self._examples, written, strict=True)
        ]


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


def _decode(model: Model, max_length: int, params: PyTree, batch: Batch) -> Array:
    return greedy_decode(model, params, batch, max_length=max_length)


def _score(task: str, pairs: Sequence[tuple[EvaluationExample, str]]) -> dict[str, Any]:
    """Returns the scores of the translations of one task, and of its sources as they are."""
    metadata = task_registry.task_metadata(task)
    references = [example.target_text for example, _ in pairs]
    scores = score_corpus([text for _, text in pairs], references, language=metadata.tgt_lang)
    copied = score_corpus(
        [example.source_text for example, _ in pairs], references, language=metadata.tgt_lang
    )
    matches = sum(example.target_text == text for example, text in pairs)
    return {
        "task": task,
        "trained": metadata.trained,
        "bleu": scores.bleu,
        "chrf": scores.chrf,
        "copy_chrf": copied.chrf,
        "exact_match": 100.0 * matches / len(pairs),
        "num_examples": len(pairs),
        "bleu_signature": scores.bleu_signature,
        "chrf_signature": scores.chrf_signature,
    }


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
