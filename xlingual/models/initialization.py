"""Tables for another vocabulary: embeddings, output layer and the optimizer's state of both.

A token of both vocabularies keeps its row, another one becomes the mean of the rows of its
sub-tokens under the old vocabulary, and one without signal is drawn from N(mean, std) of the old
rows, dimension by dimension. Padding rows behind the vocabulary stay as they are.

References:
  Gee et al., 2022, "Fast Vocabulary Transfer for Language Model Compression", EMNLP (industry),
  arXiv:2402.09977, section 2.1 (mean of sub-tokens).
  Hewitt, 2021, "Initializing New Word Embeddings for Pretrained Language Models" (why draws are
  centred on the mean of the old rows).
"""

import zlib
from typing import Any

import jax
import numpy as np

from xlingual.data.row_plan import RowPlan, plan_rows
from xlingual.errors import ConfigError
from xlingual.types import PyTree

TABLES = {("token_embedder", "embedding"): 0, ("logits_dense", "kernel"): 1}
"""Last two parts of a parameter's name -> its vocabulary dimension."""

ROW_MULTIPLE = 128
"""Tables have a multiple of so many rows, so that they divide over a mesh."""

_ROWS_AT_A_TIME = 8192


def padded_vocab_size(num_tokens: int) -> int:
    """Returns the number of rows of a table: `num_tokens` rounded up to a multiple of 128."""
    return -(-num_tokens // ROW_MULTIPLE) * ROW_MULTIPLE


def resize_vocabulary(
    params: PyTree,
    old_vocabulary: Any,
    new_vocabulary: Any,
    *,
    method: str = "mean",
    num_rows: int | None = None,
    seed: int = 0,
) -> PyTree:
    """Returns parameters for a new vocabulary; every array but the tables is the same object.

    Args:
      params: nested mappings of arrays; the tables of `TABLES` change.
      old_vocabulary: SentencePiece, byte or `tokenizers` vocabulary of `params`.
      new_vocabulary: the vocabulary of the result.
      method: `mean` or `overlap`, see `plan_rows`.
      num_rows: rows of the new tables; None for `padded_vocab_size`.
      seed: of the rows that are drawn.

    Raises:
      ConfigError: an unknown method, no table, a table smaller than the old vocabulary, or
        `num_rows` below the size of the new one.
    """
    plan = plan_rows(old_vocabulary, new_vocabulary, method=method)
    return resize_params(params, plan, num_rows=num_rows, seed=seed)


def resize_params(
    params: PyTree, plan: RowPlan, *, num_rows: int | None = None, seed: int = 0
) -> PyTree:
    """Returns parameters for a new vocabulary; see `resize_vocabulary`.

    The new tables are made on the host, one after the other, as numpy arrays of the same dtype.

    Raises:
      ConfigError: as `resize_vocabulary`.
    """
    num_rows = _checked_rows(plan, num_rows)

    def resize(path: Any, array: Any) -> Any:
        axis = _vocabulary_axis(_keys(path))
        if axis is None:
            return array
        name = "/".join(_keys(path))
        table = np.moveaxis(_on_host(name, array, axis, plan), axis, 0)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        return np.ascontiguousarray(np.moveaxis(_new_table(table, plan, num_rows, rng), 0, axis))

    resized = jax.tree_util.tree_map_with_path(resize, params)
    if all(a is b for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(resized), strict=True)):
        names = ", ".join("/".join(table) for table in TABLES)
        raise ConfigError(f"the parameters have no table of a vocabulary; expected {names}")
    return resized


def resize_opt_state(opt_state: PyTree, plan: RowPlan, *, num_rows: int | None = None) -> PyTree:
    """Returns the optimizer's state for a new vocabulary.

    Tokens of both vocabularies keep their statistics. Another token's are

    * zero in moments of the parameter's own shape, AdamW's: its first updates are as long as those
      of a token that is seen for the first time;
    * the mean over the old tokens in Adafactor's second moment, factored or full: with a zero there
      the first gradient would be divided by almost nothing, and clipping by the RMS of the whole
      table would then stop every other row.

    Args:
      opt_state: of Adafactor or AdamW, as it is or inside other states (`Freeze`).
      plan: of the change.
      num_rows: rows of the new tables; None for `padded_vocab_size`.

    Raises:
      ConfigError: a table smaller than the old vocabulary, or a bad `num_rows`.
    """
    num_rows = _checked_rows(plan, num_rows)

    def resize(path: Any, array: Any) -> Any:
        keys = _keys(path)
        moment = keys[-1] if keys and keys[-1] in ("row", "column", "value") else None
        parameter = keys[:-1] if moment else keys
        axis = _vocabulary_axis(parameter)
        kept_side = {"row": 0, "column": 1}.get(moment or "", axis)
        if axis is None or kept_side != axis:
            return array
        if moment in ("row", "column"):
            axis = 0  # the other side is gone
        table = np.moveaxis(_on_host("/".join(keys), array, axis, plan), axis, 0)
        fill = table[: plan.num_old].mean(axis=0) if moment else np.zeros_like(table[0])
        resized = _moved_rows(table, plan, num_rows, fill)
        return np.ascontiguousarray(np.moveaxis(resized, 0, axis))

    return jax.tree_util.tree_map_with_path(resize, opt_state)


def _new_table(
    table: np.ndarray, plan: RowPlan, num_rows: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns a table [num_rows, ...] from one [old rows, ...]."""
    known = table[: plan.num_old]
    mean, std = _mean_and_std(known)
    new = _moved_rows(table, plan, num_rows, np.zeros_like(table[0]))
    averaged = np.flatnonzero((plan.num_sources > 0) & ~plan.copied)
    for row in averaged:
        ids = plan.sources[plan.row_splits[row] : plan.row_splits[row + 1]]
        new[row] = known[ids].mean(axis=0, dtype=np.float64)
    drawn = [*np.flatnonzero(plan.num_sources == 0)]
    drawn += range(plan.num_new + _kept_padding(table, plan, num_rows), num_rows)
    for row in drawn:
        new[row] = mean + std * rng.standard_normal(mean.shape)
    return new


def _mean_and_std(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each column, float64, without a second table."""
    parts = [table[i : i + _ROWS_AT_A_TIME] for i in range(0, len(table), _ROWS_AT_A_TIME)]
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / len(table)
    variance = sum(np.square(part - mean).sum(axis=0) for part in parts) / len(table)
    return np.asarray(mean), np.sqrt(variance)


def _moved_rows(table: np.ndarray, plan: RowPlan, num_rows: int, fill: np.ndarray) -> np.ndarray:
    """Returns [num_rows, ...]: rows of copied tokens and padding, and `fill` everywhere else."""
    new = np.empty((num_rows, *table.shape[1:]), table.dtype)
    new[:] = fill
    rows = np.flatnonzero(plan.copied)
    new[rows] = table[plan.sources[plan.row_splits[rows]]]
    padding = _kept_padding(table, plan, num_rows)
    new[plan.num_new : plan.num_new + padding] = table[plan.num_old : plan.num_old + padding]
    return new


def _kept_padding(table: np.ndarray, plan: RowPlan, num_rows: int) -> int:
    return min(len(table) - plan.num_old, num_rows - plan.num_new)


def _checked_rows(plan: RowPlan, num_rows: int | None) -> int:
    if num_rows is None:
        return padded_vocab_size(plan.num_new)
    if num_rows < plan.num_new:
        raise ConfigError(
            f"num_rows={num_rows}; expected at least the {plan.num_new} tokens of the vocabulary"
        )
    return num_rows


def _on_host(name: str, array: Any, axis: int, plan: RowPlan) -> np.ndarray:
    if array.shape[axis] < plan.num_old:
        raise ConfigError(
            f"{name} has {array.shape[axis]} rows; expected at least the {plan.num_old} tokens of "
            "the old vocabulary: it is not the vocabulary of these parameters"
        )
    return np.asarray(jax.device_get(array))


def _keys(path: Any) -> list[str]:
    return [jax.tree_util.keystr((key,), simple=True) for key in path]


def _vocabulary_axis(keys: list[str]) -> int | None:
    return TABLES.get(tuple(keys[-2:]))  # type: ignore[arg-type]
