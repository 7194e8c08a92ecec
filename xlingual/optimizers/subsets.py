"""Parts of parameter trees: leaves chosen by name, cut out and put back.

A part of a nested mapping is the mapping without the leaves that were not chosen, and without the
mappings that this leaves empty. Optimizers see such a part as if it were the whole model.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from xlingual.errors import ConfigError
from xlingual.types import PyTree


def parameter_names(tree: PyTree) -> list[str]:
    """Returns the names of all leaves, e.g. `decoder/layers/mlp/wi_0/kernel`."""
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(tree))
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]


def match_names(patterns: Sequence[str], tree: PyTree) -> PyTree:
    """Returns the tree with a bool in place of every leaf: whether a pattern is found in its name.

    Args:
      patterns: regular expressions; one may match anywhere in a name unless it is anchored.
      tree: any tree, e.g. of logical axes.
    """
    names = parameter_names(tree)
    found = [any(re.search(pattern, name) for pattern in patterns) for name in names]
    return jax.tree.unflatten(jax.tree.structure(tree), found)


def check_patterns(argument: str, patterns: Sequence[str]) -> None:
    """Checks that regular expressions can be read.

    Args:
      argument: what they are called, for the message.
      patterns: regular expressions.

    Raises:
      ConfigError: one is no string or no expression.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ConfigError(
                f"{argument} has {pattern!r}, which is no pattern: {error}"
            ) from error


def select(tree: PyTree, chosen: PyTree) -> PyTree:
    """Returns the part of a tree that is chosen.

    Args:
      tree: nested mappings; leaves of any kind.
      chosen: the same tree with leaves of type bool.

    >>> select({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": True, "c": False}, "d": False})
    {'a': {'b': 1}}
    """
    if not isinstance(chosen, Mapping):
        return tree
    return {
        name: select(tree[name], inner)
        for name, inner in chosen.items()
        if any(jax.tree.leaves(inner))
    }


def merge(part: PyTree, whole: PyTree) -> PyTree:
    """Returns `whole` with the leaves that `part` has taken from it.

    Args:
      part: what `select` returned for a tree like `whole`, or a tree with the same structure.
      whole: nested mappings.

    >>> merge({"a": {"b": 10}}, {"a": {"b": 1, "c": 2}, "d": 3})
    {'a': {'b': 10, 'c': 2}, 'd': 3}
    """
    if not isinstance(part, Mapping):
        return part
    return {
        name: merge(part[name], value) if name in part else value for name, value in whole.items()
    }


def all_chosen(tree: PyTree) -> PyTree:
    """Returns the tree with True in place of every leaf."""
    return jax.tree.map(lambda _: True, tree)


def is_everything(chosen: Any) -> bool:
    """Whether a tree of bools chooses every leaf."""
    return all(jax.tree.leaves(chosen))
