"""Pairs of token lists as padded batches that every model family can score."""

from collections.abc import Sequence

import numpy as np

from xlingual.evaluation.decoding_batches import START_ID
from xlingual.models.base import Model

Pair = tuple[np.ndarray, np.ndarray]
"""(inputs [n] int32, targets [m] int32), EOS included, no padding."""


def make_scoring_batch(
    model: Model, pairs: Sequence[Pair], *, batch_size: int, lengths: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Returns teacher-forced features of one pair a row, with weight 1 on its targets.

    A model that reads `encoder_input_tokens` gets inputs and targets apart; any other gets them
    one behind the other, in `sum(lengths)` columns.

    Args:
      model: the model; its `requires_features` say which of the two.
      pairs: 1 to `batch_size` pairs.
      batch_size: rows; those beyond the pairs repeat them.
      lengths: columns of inputs and of targets.

    Returns:
      `requires_features`, `decoder_target_tokens` [batch_size, columns] int32 and
      `decoder_loss_weights` float32. Inputs 7 8 1 and targets 5 1 in lengths (4, 3):

        encoder_input_tokens   7 8 1 0        decoder_input_tokens   0 7 8 1 5 0 0
        decoder_input_tokens   0 5 0          decoder_target_tokens  7 8 1 5 1 0 0
        decoder_target_tokens  5 1 0          decoder_loss_weights   0 0 0 1 1 0 0
        decoder_loss_weights   1 1 0

    Raises:
      ValueError: there are no pairs or more than rows, or one does not fit the lengths.
    """
    if not 1 <= len(pairs) <= batch_size:
        raise ValueError(f"{len(pairs)} pairs; expected 1 to batch_size={batch_size}")
    for pair in pairs:
        for name, ids, limit in zip(("inputs", "targets"), pair, lengths, strict=True):
            if not 1 <= len(ids) <= limit:
                raise ValueError(f"{name} of {len(ids)} tokens; expected 1 to {limit}")
    rows = [pairs[i % len(pairs)] for i in range(batch_size)]
    if "encoder_input_tokens" in model.requires_features:
        source = _padded([inputs for inputs, _ in rows], lengths[0])
        targets = _padded([targets for _, targets in rows], lengths[1])
        batch = {
            "encoder_input_tokens": source,
            "encoder_segment_ids": (np.arange(lengths[0]) < _counts(rows, 0)).astype(np.int32),
        }
        before = np.zeros((batch_size, 1), np.int32)
    else:
        targets = _padded([np.concatenate(pair) for pair in rows], sum(lengths))
        before = _counts(rows, 0)
        # The start symbol belongs to the inputs: it is read with them in both directions.
        batch = {"decoder_causal_attention": (np.arange(sum(lengths)) <= before).astype(np.int32)}
    columns = np.arange(targets.shape[1])
    inside = columns < before + _counts(rows, 1)
    shifted = np.pad(targets, [(0, 0), (1, 0)], constant_values=START_ID)[:, :-1]
    batch |= {
        "decoder_input_tokens": np.where(inside, shifted, 0).astype(np.int32),
        "decoder_target_tokens": targets,
        "decoder_segment_ids": inside.astype(np.int32),
        "decoder_loss_weights": (inside & (columns >= before)).astype(np.float32),
    }
    return batch


def _padded(ids: Sequence[np.ndarray], length: int) -> np.ndarray:
    tokens = np.zeros((len(ids), length), np.int32)
    for row, found in zip(tokens, ids, strict=True):
        row[: len(found)] = found
    return tokens


def _counts(rows: Sequence[Pair], side: int) -> np.ndarray:
    """Tokens of one side of each pair, [batch, 1]."""
    return np.asarray([[len(pair[side])] for pair in rows], np.int32)
