"""Code that a model writes, or describes: each direction between languages and programs is scored.

Into a programming language: the scores of `code_scores`, and for Python the share of functions that
compute what the reference computes, `pass_rate`. Into a natural language: BLEU of sacrebleu, exact
match. Directions are tasks of pairs, one of whose sides is code.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sacrebleu

from xlingual.data import evaluation_sets
from xlingual.data.base import BatchSource
from xlingual.data.evaluation_sets import EvaluationExample
from xlingual.data.languages import is_programming_language
from xlingual.errors import ConfigError
from xlingual.evaluation import (
    code_execution,
    code_scores,
    example_scores,
    gold_examples,
    ngram_scores,
)
from xlingual.evaluation.code_execution import Execution, Limits
from xlingual.evaluation.example_scores import ExampleScores
from xlingual.evaluation.example_writer import ExampleWriter
from xlingual.evaluation.language_rows import Intervals, rows_of_scores, scalars_of
from xlingual.evaluation.rows import hash_texts
from xlingual.evaluation.scores import BLEU_TOKENIZERS
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Sample
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

EXECUTED = "python"
"""The programming language whose functions are run."""


@dataclasses.dataclass(kw_only=True)
class CodeEvaluator:
    """Writes the other side of each example greedily and scores it.

    Attributes:
      tasks: directions with code, and mixtures; other directions of mixtures are left out.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      split: the split that is read.
      num_examples: examples of each task, at most.
      batch_size: rows that are decoded together.
      max_decode_length: tokens written at most; None takes the limit of `targets`.
      num_calls: lists of integers on which a function and its reference are run; 0 runs none.
      limits: what a function may use.
      tree_sitter: whether the syntax trees of Python are tree-sitter's.
      seed: which records, the integers, and the draws of the intervals.
      num_samples: resampled corpora of an interval; 0 for no intervals.
      name: short name of the evaluator.
    """

    tasks: Sequence[str]
    task_feature_lengths: Mapping[str, int]
    split: str = "test"
    num_examples: int = 32
    batch_size: int = 64
    max_decode_length: int | None = None
    num_calls: int = 4
    limits: Limits = dataclasses.field(default_factory=Limits)
    tree_sitter: bool = False
    seed: int = 0
    num_samples: int = 1000
    name: str = "code"
    _examples: dict[str, list[EvaluationExample]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Loads the examples, runs the references and builds the decoder.

        Raises:
          ConfigError: a task is unknown or empty, none has code, the batch does not divide over the
            mesh, or a number is out of range.
        """
        del losses, source
        max_length = self.max_decode_length
        if max_length is None:
            max_length = self.task_feature_lengths["targets"]
        if min(self.num_examples, max_length) < 1 or self.num_calls < 0:
            raise ConfigError(
                f"CodeEvaluator.num_examples={self.num_examples}, max_decode_length={max_length}, "
                f"num_calls={self.num_calls}; expected at least 1, 1 and 0"
            )
        partitioner.check_batch_size(self.batch_size)
        self._examples = self._load()
        self._calls = make_calls(self.num_calls, self.seed)
        self._expected = {
            example.target_text: code_execution.run_function(
                example.target_text, self._calls, self.limits
            )
            for mine in self._examples.values()
            for example in mine
            if self.num_calls and example.tgt_lang == EXECUTED
        }
        longest = max(len(one.inputs) for mine in self._examples.values() for one in mine)
        self._write = ExampleWriter(
            model,
            partitioner,
            batch_size=self.batch_size,
            max_length=max_length,
            longest_inputs=longest,
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the rows of every direction."""
        examples = [one for mine in self._examples.values() for one in mine]
        texts = self._write(params, examples)
        rows, details, samples = [], {}, []
        intervals = Intervals(seed=self.seed, num_samples=self.num_samples)
        for task, mine in self._examples.items():
            written, texts = texts[: len(mine)], texts[len(mine) :]
            executions = self._execute(mine, written)
            for scores, tags in self._scores(mine, written, executions):
                rows += rows_of_scores(scores, intervals, dataset=task, **tags)
            details[task] = [
                _detail(number, one, text, execution)
                for number, (one, text, execution) in enumerate(
                    zip(mine, written, executions, strict=True)
                )
            ]
            first = mine[0]
            samples.append(
                Sample(
                    task=task,
                    source=first.source_text,
                    target=first.target_text,
                    prediction=written[0],
                )
            )
        return Evaluation(
            scalars=scalars_of(rows), results={}, samples=samples, rows=rows, details=details
        )

    def _load(self) -> dict[str, list[EvaluationExample]]:
        leaves = gold_examples.leaf_tasks(self.tasks)
        found = evaluation_sets.load_examples_of(
            leaves,
            split=self.split,
            num_examples=self.num_examples,
            task_feature_lengths=self.task_feature_lengths,
            seed=self.seed,
        )
        code = {task: mine for task, mine in found.items() if _has_code(mine[0])}
        if not code:
            raise ConfigError(f"tasks={list(self.tasks)}: none has a side in code")
        return code

    def _execute(
        self, examples: Sequence[EvaluationExample], texts: Sequence[str]
    ) -> list[Execution | None]:
        """Returns what became of each function; None where no reference ran."""
        found: list[Execution | None] = []
        for example, text in zip(examples, texts, strict=True):
            expected = self._expected.get(example.target_text)
            runs = expected is not None and expected.status == "ran"
            found.append(
                code_execution.check_function(text, expected, self._calls, self.limits)
                if expected is not None and runs
                else None
            )
        return found

    def _scores(
        self,
        examples: Sequence[EvaluationExample],
        texts: Sequence[str],
        executions: Sequence[Execution | None],
    ) -> list[tuple[list[ExampleScores], dict[str, Any]]]:
        """Returns groups of scores with the tags of their rows."""
        first = examples[0]
        sources = [one.source_text for one in examples]
        references = [one.target_text for one in examples]
        tags = {
            "src_lang": first.src_lang,
            "tgt_lang": first.tgt_lang,
            "num_examples": len(examples),
            "data_hash": hash_texts(sources, references),
        }
        if not is_programming_language(first.tgt_lang):
            return [_score_text(texts, references, first.tgt_lang, tags)]
        trees = "tree-sitter" if self.tree_sitter or first.tgt_lang != "python" else "ast"
        scores = code_scores.score_code(
            texts, references, first.tgt_lang, tree_sitter=self.tree_sitter
        )
        groups = [(scores, {**tags, "signature": f"trees:{trees}|tok:code"})]
        ran = [float(one.status == "passed") for one in executions if one is not None]
        if ran:
            signature = f"calls:{self.num_calls}|seed:{self.seed}"
            tags = {**tags, "num_examples": len(ran), "signature": signature}
            groups.append(([example_scores.percent("pass_rate", ran)], tags))
        return groups


def make_calls(num_calls: int, seed: int) -> list[list[list[int]]]:
    """Returns arguments for functions of one list of integers: the empty list, then random ones."""
    generator = np.random.default_rng(seed)
    lists = [generator.integers(-20, 21, 3 * k).tolist() for k in range(num_calls)]
    return [[numbers] for numbers in lists]


def _score_text(
    texts: Sequence[str], references: Sequence[str], lang: str, tags: Mapping[str, Any]
) -> tuple[list[ExampleScores], dict[str, Any]]:
    sacre = sacrebleu.BLEU(tokenize=BLEU_TOKENIZERS.get(lang.split("-")[0], "13a"))
    sacre.corpus_score(list(texts), [list(references)])  # the signature needs a corpus
    found, gold = (
        [sacre.tokenizer(text.rstrip()).split() for text in side] for side in (texts, references)
    )
    exact = [float(a.strip() == b.strip()) for a, b in zip(texts, references, strict=True)]
    scores = [
        ngram_scores.bleu("bleu", found, gold),
        example_scores.percent("exact_match", exact),
    ]
    return scores, {**tags, "signature": str(sacre.get_signature())}


def _detail(
    number: int, example: EvaluationExample, text: str, execution: Execution | None
) -> dict[str, Any]:
    detail = {
        "id": number,
        "source": example.source_text,
        "reference": example.target_text,
        "prediction": text,
    }
    if execution is not None:
        detail["execution"] = f"{execution.status} {execution.detail}".strip()
    return detail


def _has_code(example: EvaluationExample) -> bool:
    return any(is_programming_language(lang) for lang in (example.src_lang, example.tgt_lang))
