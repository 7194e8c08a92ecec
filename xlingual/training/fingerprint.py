"""What must not change under a checkpoint, and a clear refusal when it did.

A fingerprint is a flat mapping `dotted.name -> JSON value` of data, model, losses, optimizer and
seed. A few entries may change when the user says so; a vocabulary or a shape may never.
"""

import dataclasses
import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xlingual.errors import ConfigError

FIXED_DATA = ("data.vocabulary",)
"""Entries of the data source that may never change."""

HARMLESS_MODEL = ("model.config.dropout_rate", "model.config.dtype", "model.config.remat")
"""Entries of the model that change no parameter."""

MAX_LINES = 10
"""Differences that a refusal lists one by one."""

FIXED_OPTIMIZER = ("optimizer.class", "optimizer.min_factored_size")
"""Entries of the optimizer that change the shape of its state."""


def make_fingerprint(
    *, data: Mapping[str, Any], model: Any, losses: Mapping[str, Any], optimizer: Any, seed: int
) -> dict[str, Any]:
    """Returns the fingerprint of a run, JSON types only.

    Args:
      data: of the data source (`BatchSource.fingerprint`).
      model: frozen dataclass.
      losses: loss name -> frozen dataclass.
      optimizer: frozen dataclass.
      seed: seed of the run.
    """
    return flatten(
        {
            "data": describe(data),
            "model": describe(model),
            "losses": describe(losses),
            "optimizer": describe(optimizer),
            "seed": seed,
        }
    )


def describe(value: Any) -> Any:
    """Returns JSON types that tell two configurations apart, whatever process made them.

    A dataclass becomes its class and fields, a function its name and the values it closes over.

    Args:
      value: JSON types, tuples, mappings, dataclasses, functions and partial functions thereof.

    Raises:
      TypeError: for any other object: its `repr` might change from run to run.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": describe(type(value)), **fields}
    if isinstance(value, Mapping):
        return {str(name): describe(item) for name, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [describe(item) for item in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, functools.partial):
        arguments = {"args": describe(value.args), **describe(value.keywords)}
        return {"function": describe(value.func), **arguments}
    if inspect.isfunction(value):
        name = f"{value.__module__}.{value.__qualname__}"
        free = inspect.getclosurevars(value).nonlocals
        return {"function": name, **describe(free)} if free else {"function": name}
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"cannot fingerprint {value!r} of type {type(value)}; expected a dataclass")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one, names joined by dots.

    >>> flatten({"a": {"b": 1, "c": [2]}, "d": {}})
    {'a.b': 1, 'a.c': [2]}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        entries = flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else None
        flat |= {f"{prefix}{name}": value} if entries is None else entries
    return flat


def find_differences(
    saved: Mapping[str, Any], present: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Returns `name -> (saved value, present value)` of every entry that differs, sorted.

    A missing entry has the value None.
    """
    names = sorted(saved.keys() | present.keys())
    return {
        name: (saved.get(name), present.get(name))
        for name in names
        if saved.get(name) != present.get(name)
    }


def check_fingerprint(
    saved: Mapping[str, Any], present: Mapping[str, Any], allow_changes: Sequence[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Refuses to go on with another run's checkpoint.

    Args:
      saved: fingerprint in the checkpoint.
      present: fingerprint of the configuration at hand.
      allow_changes: entries that may differ, by full name or by the beginning of one up to a dot;
        `data.` may be left out: `mixture`, `batch_size`, `optimizer.learning_rate`, `losses`, ...

    Returns:
      The differences that were allowed.

    Raises:
      ConfigError: an entry differs that is not allowed to, with its name, old and new value.
    """
    differences = find_differences(saved, present)
    refused = {
        name: pair
        for name, pair in differences.items()
        if not (is_harmless(name) and any(_covers(entry, name) for entry in allow_changes))
    }
    if not refused:
        return differences
    lines = [
        f"  {name}: the checkpoint has {_short(old)}, this run has {_short(new)}"
        for name, (old, new) in sorted(refused.items(), key=_gravity)[:MAX_LINES]
    ]
    if len(refused) > MAX_LINES:
        lines.append(f"  ... and {len(refused) - MAX_LINES} more entries")
    advice = (
        f"use another MODEL_DIR, or allow it by allow_changes={_groups(refused)}"
        if all(map(is_harmless, refused))
        else "use another MODEL_DIR, or the configuration of the checkpoint"
    )
    raise ConfigError(
        "model_dir holds a checkpoint of another configuration:\n"
        + "\n".join(lines)
        + f"\nNothing was changed; {advice}"
    )


def _gravity(item: tuple[str, Any]) -> tuple[bool, str]:
    return is_harmless(item[0]), item[0]


def _groups(names: Iterable[str]) -> list[str]:
    """Returns the shortest entries that cover the names: `mixture`, `optimizer.learning_rate`."""
    groups = {
        name if name in HARMLESS_MODEL else ".".join(name.split(".")[:2]).removeprefix("data.")
        for name in names
    }
    return sorted(groups)


def is_harmless(name: str) -> bool:
    """Whether an entry may change under a checkpoint when the user allows it."""
    if name.startswith("model."):
        return name in HARMLESS_MODEL
    return not any(_covers(entry, name) for entry in FIXED_DATA + FIXED_OPTIMIZER)


def is_of_data(name: str) -> bool:
    """Whether an entry describes the data, so that a change starts the stream anew."""
    return name.startswith("data.")


def check_allow_changes(allow_changes: Sequence[str], present: Mapping[str, Any]) -> None:
    """Checks the names that the user allows to change.

    Raises:
      ConfigError: a name covers no entry, or only entries that may never change.
    """
    for entry in allow_changes:
        covered = [name for name in present if _covers(entry, name)]
        if not any(is_harmless(name) for name in covered):
            raise ConfigError(
                f"allow_changes holds {entry!r}, which "
                + ("may never change under a checkpoint" if covered else "is no entry")
                + f"; expected some of {sorted(name for name in present if is_harmless(name))}"
            )


def _covers(entry: str, name: str) -> bool:
    """Whether `entry` is `name`, or the beginning of it up to a dot; `data.` may be left out."""
    return any(f"{name}.".startswith(f"{prefix}{entry}.") for prefix in ("", "data."))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text)} characters)"
