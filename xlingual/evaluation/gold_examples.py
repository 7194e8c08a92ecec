"""Examples of understanding tasks, with what their metrics must know beside the target text.

The records of such a task have a field `gold`, JSON: its `kind` names the metrics, and the rest is
what these need (`tasks/understanding_layouts.py` writes it).
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import seqio

from xlingual.data import evaluation_sets, task_registry
from xlingual.data.evaluation_sets import EvaluationExample
from xlingual.data.records import load_records
from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoldExample:
    """One example.

    Attributes:
      example: inputs and targets as ids, and as text.
      src: the inputs as text, whole.
      gold: `kind`, `dataset`, `lang`, `id`, and what the kind needs.
    """

    example: EvaluationExample
    src: str
    gold: Mapping[str, Any]


def leaf_tasks(names: Sequence[str]) -> list[str]:
    """Returns the tasks that names of tasks and mixtures stand for, each once.

    Raises:
      ConfigError: a name is unknown; the message has the nearest ones.
    """
    leaves = [leaf for name in names for leaf in task_registry.leaf_shares(name)[0]]
    return list(dict.fromkeys(leaves))


def load_gold_examples(
    tasks: Sequence[str],
    *,
    split: str,
    num_examples: int,
    task_feature_lengths: Mapping[str, int],
    seed: int = 0,
) -> dict[str, list[GoldExample]]:
    """Returns task -> at most `num_examples` of its examples, chosen by `seed`.

    The labels of a data set are the same in all examples, whichever its files show.

    Args:
      tasks: tasks, not mixtures.
      split: their split.
      num_examples: limit for each task.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      seed: which records; languages with equally many records get the same ones.

    Raises:
      ConfigError: a task, split, file or vocabulary is missing; a task has no example, or its
        records have no `gold`.
    """
    if not tasks:
        return {}
    examples = evaluation_sets.load_examples_of(
        tasks,
        split=split,
        num_examples=num_examples,
        task_feature_lengths=task_feature_lengths,
        seed=seed,
    )
    found = {}
    for task, mine in examples.items():
        records = _load_records(task, split, num_examples, seed)
        if len(records) != len(mine):
            raise ConfigError(
                f"task {task!r} makes {len(mine)} examples of {len(records)} records; expected one "
                "of each"
            )
        found[task] = [
            GoldExample(example=example, src=src, gold=gold)
            for example, (src, gold) in zip(mine, records, strict=True)
        ]
    return _with_all_labels(found)


def _load_records(
    task: str, split: str, num_examples: int, seed: int
) -> list[tuple[str, dict[str, Any]]]:
    with as_config_error(f"task {task!r}, split {split!r}"):
        records = load_records(seqio.TaskRegistry.get(task).source, split)
        sample = records.sample(num_examples, seed)
    if "gold" not in sample.element_spec:
        raise ConfigError(
            f"records of task {task!r} have the fields {sorted(sample.element_spec)}; expected "
            "`gold`: a task of tasks/understanding.py"
        )
    pairs = sample.map(lambda record: (record["src"], record["gold"])).as_numpy_iterator()
    return [(src.decode(), json.loads(gold)) for src, gold in pairs]


def _with_all_labels(found: dict[str, list[GoldExample]]) -> dict[str, list[GoldExample]]:
    labels: dict[str, set[str]] = {}
    for mine in found.values():
        for one in mine:
            labels.setdefault(one.gold["dataset"], set()).update(one.gold.get("labels", ()))

    def complete(one: GoldExample) -> GoldExample:
        if "labels" not in one.gold:
            return one
        gold = {**one.gold, "labels": sorted(labels[one.gold["dataset"]])}
        return dataclasses.replace(one, gold=gold)

    return {task: [complete(one) for one in mine] for task, mine in found.items()}
