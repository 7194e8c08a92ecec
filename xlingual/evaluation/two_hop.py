"""Translation through a pivot language in two hops: the baseline of direct zero-shot translation.

The model translates a source into the pivot, and what it wrote into the target. Where direct
translation is not better than this, the languages are joined through the pivot alone.

References:
  Johnson et al., 2017, "Google's Multilingual Neural Machine Translation System: Enabling Zero-Shot
  Translation", arXiv:1611.04558, section 4.6 (bridging).
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import seqio

from xlingual.data import task_checks, task_registry
from xlingual.data.evaluation_sets import EvaluationExample
from xlingual.errors import ConfigError
from xlingual.evaluation.text_requests import TextEncoder

SUFFIX = "_two_hop"


class TwoHop:
    """The examples that can be translated through the pivot, and the inputs of both hops."""

    def __init__(
        self,
        examples: Mapping[str, Sequence[EvaluationExample]],
        *,
        pivot_lang: str,
        text_format: str,
        max_inputs: int,
    ) -> None:
        """Chooses the tasks: zero-shot ones of the objective `translation`, without the pivot.

        Args:
          examples: task -> its examples.
          pivot_lang: language of the text between the hops.
          text_format: of the inputs of these tasks (`text_requests.FORMATS`).
          max_inputs: longest inputs, in tokens.

        Raises:
          ConfigError: the inputs of a task are not of this format.
        """
        self._pivot_lang, self._format, self._max_inputs = pivot_lang, text_format, max_inputs
        self._encoder = functools.cache(self._make_encoder)
        self.examples: list[EvaluationExample] = []
        """Of all chosen tasks, in order."""
        for task, of_task in examples.items():
            metadata = task_registry.task_metadata(task)
            languages = (metadata.src_lang, metadata.tgt_lang)
            if metadata.trained or metadata.objective != "translation" or pivot_lang in languages:
                continue
            self._check(of_task[0])
            self.examples += of_task

    @property
    def first_inputs(self) -> list[np.ndarray]:
        """Inputs that ask for a translation of each source into the pivot, [length] int32."""
        return [
            self._inputs(example, example.source_text, example.src_lang, self._pivot_lang)
            for example in self.examples
        ]

    def second_inputs(self, pivots: Sequence[str]) -> list[np.ndarray]:
        """Returns inputs that ask for a translation of each pivot text into the target.

        Args:
          pivots: what was written for `first_inputs`.
        """
        return [
            self._inputs(example, pivot, self._pivot_lang, example.tgt_lang)
            for example, pivot in zip(self.examples, pivots, strict=True)
        ]

    def _check(self, example: EvaluationExample) -> None:
        made = self._inputs(example, example.source_text, example.src_lang, example.tgt_lang)
        if made.tolist() != example.inputs.tolist():
            raise ConfigError(
                f"pivot_format={self._format!r} does not give the inputs of {example.task}: "
                f"{made.tolist()[:8]}...; expected {example.inputs.tolist()[:8]}..."
            )

    def _inputs(
        self, example: EvaluationExample, text: str, source_lang: str, target_lang: str
    ) -> np.ndarray:
        langs = {} if self._format == "plain" else {"target_lang": target_lang}
        if self._format not in ("plain", "tag"):
            langs["source_lang"] = source_lang
        return self._encoder(example.task).inputs({"text": text, **langs})

    def _make_encoder(self, task: str) -> TextEncoder:
        return TextEncoder(
            task_checks.load_vocabulary_of(seqio.TaskRegistry.get(task)),
            text_format=self._format,
            max_inputs=self._max_inputs,
        )
