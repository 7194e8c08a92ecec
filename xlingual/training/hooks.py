"""What happens every N steps beside training: a hook is a value that the loop calls."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import jax

from xlingual.data.base import BatchSource
from xlingual.errors import ConfigError
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Sample
from xlingual.partitioning.partitioner import Partitioner
from xlingual.reporting.evaluations import append_evaluation
from xlingual.reporting.writers import RunWriter
from xlingual.training.fingerprint import describe
from xlingual.training.state import TrainState
from xlingual.types import PyTree

CONFIG_FILES = ("operative_config.gin", "weights.json", "config.json")
"""What a model is: of a run, of a folder of weights, of an exported model; the first counts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HookContext:
    """What the loop shows a hook.

    Attributes:
      model_dir: the run's folder.
      model: the model.
      partitioner: mesh and rules.
      losses: loss name -> loss.
      source: the training data.
      seed: seed of the run.
      writer: takes numbers of a step.
      results: becomes `MODEL_DIR/results.json`; hooks add to it.
      samples: evaluator name -> its latest decoded examples, shown at the end.
    """

    model_dir: pathlib.Path
    model: Model
    partitioner: Partitioner
    losses: Mapping[str, Loss]
    source: BatchSource
    seed: int
    writer: RunWriter = dataclasses.field(default_factory=RunWriter)
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    samples: dict[str, tuple[Sample, ...]] = dataclasses.field(default_factory=dict)


class Hook(Protocol):
    """Runs every `period_steps` steps and at the end; at the end only if it is 0."""

    @property
    def period_steps(self) -> int:
        """Steps between runs, >= 0."""

    def prepare(self, context: HookContext) -> None:
        """Checks at start-up all that can fail later.

        Raises:
          ConfigError: for a setting with which `run` would fail.
        """

    def run(self, context: HookContext, state: TrainState) -> None:
        """Acts on a state that is finite; must not change or donate it."""


class Evaluator(Protocol):
    """Measures parameters (`xlingual.evaluation`)."""

    @property
    def name(self) -> str:
        """Short name, unique in a run."""

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Checks at start-up all that can fail later."""

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns what it found."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateHook:
    """Runs an evaluator, writes its numbers and keeps its results for `results.json`.

    Rows go to `MODEL_DIR/evaluations.jsonl`, details beside it (`reporting.evaluations`).

    Attributes:
      evaluator: what measures.
      period_steps: steps between evaluations; 0 for one at the end.

    Raises:
      ConfigError: the period is negative.
    """

    evaluator: Evaluator
    period_steps: int = 0

    def __post_init__(self) -> None:
        if self.period_steps < 0:
            raise ConfigError(f"period_steps={self.period_steps}; expected 0 or more")

    def prepare(self, context: HookContext) -> None:
        """Lets the evaluator check what it needs."""
        self.evaluator.prepare(context.model, context.partitioner, context.losses, context.source)

    def run(self, context: HookContext, state: TrainState) -> None:
        """Evaluates the parameters of `state`."""
        step = int(jax.device_get(state.step))
        evaluation = self.evaluator(state.params)
        context.writer.write(step, evaluation.scalars)
        merge_results(context.results, evaluation.results)
        context.samples[self.evaluator.name] = tuple(evaluation.samples)
        if jax.process_index() == 0:
            header = evaluation_header(
                self.evaluator, model_dir=context.model_dir, step=step, run_seed=context.seed
            )
            append_evaluation(context.model_dir, evaluation, header=header)


def evaluation_header(
    evaluator: Evaluator, *, model_dir: pathlib.Path, step: int, run_seed: int | None
) -> dict[str, Any]:
    """Returns what stands in front of every row of an evaluation: what was evaluated, and how.

    Args:
      evaluator: its settings have a hash of their own.
      model_dir: the run's folder, or a folder of weights; its configuration is hashed.
      step: updates that the parameters have seen.
      run_seed: seed of the run; None where it is not known.
    """
    return {
        "evaluator": evaluator.name,
        "step": step,
        "model": model_dir.absolute().name,
        "config_hash": _config_hash(model_dir),
        "settings_hash": _digest(json.dumps(_settings(evaluator), sort_keys=True).encode()),
        "seed": getattr(evaluator, "seed", run_seed),
        "run_seed": run_seed,
    }


def _config_hash(model_dir: pathlib.Path) -> str | None:
    """Hash of the file that says what a model is; None where there is none."""
    for name in CONFIG_FILES:
        if (model_dir / name).is_file():
            return _digest((model_dir / name).read_bytes())
    return None


def _settings(evaluator: Evaluator) -> Any:
    """The arguments that an evaluator was made with; of objects of others, their class."""
    if not dataclasses.is_dataclass(evaluator):
        return describe(type(evaluator))
    settings = {}
    for field in (f for f in dataclasses.fields(evaluator) if f.init):
        value = getattr(evaluator, field.name)
        try:
            settings[field.name] = describe(value)
        except TypeError:
            settings[field.name] = describe(type(value))
    return settings


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def merge_results(results: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Adds results in place, level by level; a later value replaces an earlier one.

    >>> results = {"directions": {"en-de": {"chrf": 1.0}}}
    >>> merge_results(results, {"directions": {"de-en": {"chrf": 2.0}}})
    >>> sorted(results["directions"])
    ['de-en', 'en-de']
    """
    for name, value in new.items():
        old = results.get(name)
        if isinstance(value, Mapping) and isinstance(old, dict):
            merge_results(old, value)
        else:
            results[name] = value


def is_due(hook: Hook, step: int, last_step: int) -> bool:
    """Whether a hook runs after `step` updates of `last_step`."""
    return step == last_step or (hook.period_steps > 0 and step % hook.period_steps == 0)
