"""How large tasks are: counted in their records, for rates that follow sizes."""

from collections.abc import Sequence

import seqio
import tensorflow as tf

from xlingual.data import task_registry
from xlingual.data.mixing_rates import Sizes, SizeUnit
from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError

_TEXT_FIELDS = ("text", "src", "tgt", "code")
MEASURABLE = ("documents", "characters")


def measure_sizes(task_names: Sequence[str], unit: SizeUnit, split: str = "train") -> Sizes:
    """Returns the sizes of registered tasks, by one pass over their records.

    Documents are records; where a source declares their number, nothing is read. Characters are the
    Unicode characters of the text fields of records.

    Args:
      task_names: registered tasks.
      unit: `documents` or `characters`; sizes in sentences or tokens must be given.
      split: of every task.

    Raises:
      ConfigError: a unit that records do not show, an unknown task, or a task without records.
    """
    if unit not in MEASURABLE:
        raise ConfigError(
            f"sizes in {unit!r} cannot be read off records; give them, or choose one of "
            f"{', '.join(MEASURABLE)}"
        )
    counts = {}
    for name in task_names:
        task = task_registry.get_mixture_or_task(name)
        if not isinstance(task, seqio.Task):
            raise ConfigError(f"{name!r} is a mixture; sizes are those of tasks")
        with as_config_error(f"task {name!r}"):
            counts[name] = _measure(task.source, unit, split)
        if not counts[name]:
            raise ConfigError(f"task {name!r} has no {unit} in its split {split!r}")
    return Sizes(counts=counts, unit=unit)


def _measure(source: seqio.DataSource, unit: SizeUnit, split: str) -> float:
    declared = source.num_input_examples(split)
    if unit == "documents" and declared is not None:
        return float(declared)
    records = source.get_dataset(split=split, shuffle=False)
    fields = [name for name in _TEXT_FIELDS if name in records.element_spec]

    def add(total: tf.Tensor, record: dict[str, tf.Tensor]) -> tf.Tensor:
        if unit == "documents":
            return total + 1
        lengths = [tf.strings.length(record[name], unit="UTF8_CHAR") for name in fields]
        return total + tf.cast(tf.add_n(lengths), tf.int64)

    return float(records.reduce(tf.constant(0, tf.int64), add))
