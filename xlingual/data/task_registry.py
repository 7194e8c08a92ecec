"""Registers tasks and mixtures with SeqIO, and remembers what metrics need to know about them.

SeqIO's registries hold how a data set is made. The records kept here add what it is: objective,
languages, whether it is trained or only evaluated (zero-shot), and the unit of mixture shares.

References:
  Roberts et al., 2022, Scaling Up Models and Data with t5x and seqio, arXiv:2203.17189.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import seqio

from xlingual.data.structure import same_structure
from xlingual.errors import ConfigError, nearest

ShareUnit = Literal["tokens", "examples"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskMetadata:
    """What a task is, beside how it is made.

    Attributes:
      name: registered task name.
      objective: name in the index of objectives, e.g. `translation`; empty when unknown.
      src_lang: language of the inputs; empty when it does not apply.
      tgt_lang: language of the targets; empty when it does not apply.
      trained: False for tasks that are evaluated but never trained on (zero-shot directions).
      description: one sentence for people.
    """

    name: str
    objective: str = ""
    src_lang: str = ""
    tgt_lang: str = ""
    trained: bool = True
    description: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureMetadata:
    """What a mixture declares.

    Attributes:
      name: registered mixture name.
      shares: task or mixture name -> declared share, not normalised, >= 0.
      share_unit: what shares count: `tokens` (weighted target tokens) or `examples`.
      description: one sentence for people.
      row_shapes: objective or task -> lengths of `inputs` and `targets` of its rows in a packed
        cache; `*` for all others. Empty when none is declared.
    """

    name: str
    shares: Mapping[str, float]
    share_unit: ShareUnit = "tokens"
    description: str = ""
    row_shapes: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)


_TASKS: dict[str, TaskMetadata] = {}
_MIXTURES: dict[str, MixtureMetadata] = {}


def register_task(
    name: str,
    *,
    objective: str,
    source: seqio.DataSource,
    preprocessors: Sequence[Callable[..., Any]],
    output_features: Mapping[str, seqio.Feature],
    src_lang: str = "",
    tgt_lang: str = "",
    trained: bool = True,
    description: str = "",
) -> seqio.Task:
    """Returns the SeqIO task registered under `name`; does nothing when it is already there.

    Args:
      name: letters, digits, `_`, `.`, `:` as SeqIO allows.
      objective: name of the objective, for metrics.
      source: where the records come from; its `tf.data` operations must be serialisable, because
        the position is saved (no `from_generator`, no `py_function`).
      preprocessors: SeqIO preprocessors, the objective last.
      output_features: `inputs` and `targets` (and optional `targets_weights`), without EOS: the
        objective appends it.
      src_lang: language code of the inputs.
      tgt_lang: language code of the targets.
      trained: False for evaluation-only tasks.
      description: one sentence.

    Raises:
      ConfigError: if another task or a mixture has this name.
    """
    metadata = TaskMetadata(
        name=name,
        objective=objective,
        src_lang=src_lang,
        tgt_lang=tgt_lang,
        trained=trained,
        description=description,
    )
    if name in seqio.MixtureRegistry.names():
        raise ConfigError(f"task name {name!r} is already the name of a mixture")
    if name in seqio.TaskRegistry.names():
        old = seqio.TaskRegistry.get(name)
        same = (
            _TASKS.get(name) == metadata
            and same_structure(old.source, source)
            and same_structure(list(old.preprocessors), list(preprocessors))
            and same_structure(dict(old.output_features), dict(output_features))
        )
        if not same:
            raise ConfigError(
                f"task {name!r} is already registered with other content; unregister it first or "
                "choose another name"
            )
        return old
    task = seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=list(preprocessors),
        output_features=output_features,
        metric_fns=[],
    )
    _TASKS[name] = metadata
    return task


def register_mixture(
    name: str,
    leaves: Mapping[str, float],
    *,
    share_unit: ShareUnit = "tokens",
    description: str = "",
    row_shapes: Mapping[str, Mapping[str, int]] | None = None,
) -> seqio.Mixture:
    """Returns the SeqIO mixture registered under `name`; does nothing when it is already there.

    Args:
      name: mixture name.
      leaves: names of tasks (or mixtures) -> share >= 0; they need not sum to one. A leaf with
        share 0 yields nothing.
      share_unit: `tokens`: shares of weighted target tokens (measured and converted to rates of
        examples when the data set is opened); `examples`: shares of examples.
      description: one sentence.
      row_shapes: objective or task -> lengths of the rows of a packed cache, e.g.
        `{'translation': {'inputs': 256, 'targets': 256}}`; `*` stands for all others.

    Raises:
      ConfigError: for an unknown leaf (with the nearest names), a share that is negative or not
        finite, all shares zero, or another mixture or task of this name.
    """
    metadata = MixtureMetadata(
        name=name,
        shares=dict(leaves),
        share_unit=share_unit,
        description=description,
        row_shapes={key: dict(shape) for key, shape in (row_shapes or {}).items()},
    )
    _check_shares(metadata)
    if name in seqio.TaskRegistry.names():
        raise ConfigError(f"mixture name {name!r} is already the name of a task")
    if name in seqio.MixtureRegistry.names():
        if _MIXTURES.get(name) != metadata:
            raise ConfigError(
                f"mixture {name!r} is already registered with other content; unregister it first "
                "or choose another name"
            )
        return seqio.MixtureRegistry.get(name)
    for leaf in leaves:
        get_mixture_or_task(leaf)
    mixture = seqio.MixtureRegistry.add(name, list(leaves.items()))
    _MIXTURES[name] = metadata
    return mixture


def get_mixture_or_task(name: str) -> seqio.Task | seqio.Mixture:
    """Returns the registered mixture or task.

    Raises:
      ConfigError: if none has this name; the message lists the nearest names.
    """
    if name in seqio.MixtureRegistry.names():
        return seqio.MixtureRegistry.get(name)
    if name in seqio.TaskRegistry.names():
        return seqio.TaskRegistry.get(name)
    known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
    raise ConfigError(
        f"no task or mixture is named {name!r}; {nearest(name, known)} "
        f"({len(known)} registered: are all task modules imported?)"
    )


def task_metadata(name: str) -> TaskMetadata:
    """Returns what is known about a task; only its name if it was registered by SeqIO alone.

    Raises:
      ConfigError: if no task has this name.
    """
    if not isinstance(get_mixture_or_task(name), seqio.Task):
        raise ConfigError(f"{name!r} is a mixture, expected a task")
    return _TASKS.get(name, TaskMetadata(name=name))


def mixture_description(name: str) -> str:
    """Returns the sentence that a mixture was registered with; empty when there is none."""
    return _MIXTURES[name].description if name in _MIXTURES else ""


def declared_row_shapes(name: str) -> Mapping[str, Mapping[str, int]]:
    """Returns the row shapes that a mixture was registered with; empty when there are none."""
    return _MIXTURES[name].row_shapes if name in _MIXTURES else {}


def leaf_shares(mixture: str | Mapping[str, float]) -> tuple[dict[str, float], ShareUnit]:
    """Returns the shares of the leaf tasks, in sorted order and summing to one, and their unit.

    A task alone has share 1, in tokens. Shares of nested mixtures multiply, in the unit of the
    outer one. Leaves with share 0 are left out.

    Args:
      mixture: a registered name, or names -> shares in tokens.

    Raises:
      ConfigError: if no task or mixture has a name, or a share is not a number >= 0.
    """
    if isinstance(mixture, Mapping):
        _check_shares(MixtureMetadata(name=" + ".join(mixture), shares=dict(mixture)))
        rates: collections.Counter[str] = collections.Counter()
        for name, share in mixture.items():
            for task, part in leaf_shares(name)[0].items():
                rates[task] += share * part  # type: ignore[assignment]
        return _normalised(rates), "tokens"
    provider = get_mixture_or_task(mixture)
    if isinstance(provider, seqio.Task):
        return {mixture: 1.0}, "tokens"
    found = {task.name: float(provider.get_rate(task)) for task in provider.tasks}
    return _normalised(found), _MIXTURES[mixture].share_unit if mixture in _MIXTURES else "examples"


def unregister(name: str) -> None:
    """Removes a task or mixture, if it is there (for notebooks and tests)."""
    seqio.TaskRegistry.remove(name)
    seqio.MixtureRegistry.remove(name)
    _TASKS.pop(name, None)
    _MIXTURES.pop(name, None)


def _check_shares(metadata: MixtureMetadata) -> None:
    if metadata.share_unit not in ("tokens", "examples"):
        raise ConfigError(
            f"share_unit of mixture {metadata.name!r} is {metadata.share_unit!r}, expected "
            "'tokens' or 'examples'"
        )
    for leaf, share in metadata.shares.items():
        if not (math.isfinite(share) and share >= 0):
            raise ConfigError(
                f"share of {leaf!r} in mixture {metadata.name!r} is {share}, expected a finite "
                "number >= 0"
            )
    if not any(metadata.shares.values()):
        raise ConfigError(f"mixture {metadata.name!r} has no leaf with a share above 0")


def _normalised(rates: Mapping[str, float]) -> dict[str, float]:
    total = sum(rates.values())
    return {task: rate / total for task, rate in sorted(rates.items()) if rate > 0}
