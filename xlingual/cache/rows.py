"""Packed rows as they are stored, and the model features of a batch of them.

A row stores the tokens of its examples one after the other and how many each has; segment ids,
positions, decoder inputs and padding follow from that and are made as a batch is read:

    inputs           [tokens] int32      inputs_lengths   [examples] int32, may be 0
    targets          [tokens] int32      targets_lengths  [examples] int32, at least 1
    targets_weights  [tokens] int32, class of each target (see `TARGET_WEIGHT_OF_CLASS`); empty
                     where all are 1
    targets_groups   [tokens] int32, 1-based group of each target (partially non-autoregressive
                     decoding); empty where all are 1; only in the schema of tasks that emit it
    targets_read     [tokens] int32, what the decoder reads as targets; empty where it is the
                     targets; only in the schema of tasks that emit it

The features made are those of `xlingual.data.feature_converters`, number by number.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from xlingual.cache.codec import Feature

TARGET_WEIGHT_OF_CLASS = (0.0, 1.0, 0.5)
"""Loss weight of each class in `targets_weights`."""
OPTIONAL_FEATURES = ("targets_groups", "targets_read")
"""Features per target that are carried along only where a task emits them."""

Row = Mapping[str, np.ndarray]
Batch = dict[str, np.ndarray]


def row_schema(optional: Collection[str] = ()) -> tuple[Feature, ...]:
    """Returns the schema of a task's rows.

    Args:
      optional: those of `OPTIONAL_FEATURES` that the task emits.
    """
    names = ["inputs", "targets", "inputs_lengths", "targets_lengths", "targets_weights"]
    names += [name for name in OPTIONAL_FEATURES if name in optional]
    return tuple(Feature(name=name) for name in names)


def make_row(examples: Sequence[Mapping[str, np.ndarray]], schema: Sequence[Feature]) -> Row:
    """Returns the stored row of examples, in their order.

    Args:
      examples: at least one; `inputs`, `targets`, `targets_weights` and the optional features of
        the schema, each [length] int32.
      schema: of the rows.
    """
    row = {}
    for feature in schema:
        name = feature.name
        if name.endswith("_lengths"):
            sizes = [len(example[name.removesuffix("_lengths")]) for example in examples]
            row[name] = np.array(sizes, np.int32)
        else:
            row[name] = np.concatenate([example[name] for example in examples])
    for name in ("targets_weights", "targets_groups"):
        if name in row and (row[name] == 1).all():
            row[name] = row[name][:0]
    if "targets_read" in row and np.array_equal(row["targets_read"], row["targets"]):
        row["targets_read"] = row["targets_read"][:0]
    return row


def encoder_decoder_features(
    rows: Sequence[Row], task_ids: np.ndarray, row_shape: Mapping[str, int], *, groups: bool = False
) -> Batch:
    """Returns the model features of rows for an encoder-decoder, as `EncDecFeatureConverter` does.

    Args:
      rows: decoded records.
      task_ids: [rows] int32, id of the task of each row.
      row_shape: lengths of `inputs` and `targets`; no row may have more tokens.
      groups: whether to make `decoder_group_ids`: whether any task of the mixture has groups.

    Returns:
      `encoder_input_tokens`, `encoder_segment_ids`, `encoder_positions`: [rows, inputs] int32;
      `decoder_input_tokens`, `decoder_target_tokens`, `decoder_segment_ids`, `decoder_positions`,
      `decoder_task_ids` and perhaps `decoder_group_ids`: [rows, targets] int32;
      `decoder_loss_weights`: [rows, targets] float32. Padding is 0.
    """
    encoder = _Layout(rows, [row["inputs_lengths"] for row in rows], row_shape["inputs"])
    decoder = _Layout(rows, [row["targets_lengths"] for row in rows], row_shape["targets"])
    return {
        "encoder_input_tokens": encoder.pad(_joined(rows, "inputs")),
        "encoder_segment_ids": encoder.pad(encoder.segments),
        "encoder_positions": encoder.pad(encoder.positions),
        **_decoder_features(
            decoder,
            task_ids,
            targets=_joined(rows, "targets"),
            weights=_filled(rows, "targets_weights"),
            read=_filled(rows, "targets_read"),
            groups=_filled(rows, "targets_groups") if groups else None,
        ),
    }


def decoder_only_features(
    rows: Sequence[Row],
    task_ids: np.ndarray,
    row_shape: Mapping[str, int],
    *,
    loss_on_inputs: bool = False,
    groups: bool = False,
) -> Batch:
    """Returns the model features of rows for a decoder, as `DecoderFeatureConverter` does.

    Args:
      rows: decoded records.
      task_ids: [rows] int32, id of the task of each row.
      row_shape: lengths of `inputs` and `targets`, whose sum is the row length.
      loss_on_inputs: weight 1 on input tokens too.
      groups: whether to make `decoder_group_ids`: whether any task of the mixture has groups.

    Returns:
      The `decoder_*` features of `encoder_decoder_features` and `decoder_causal_attention`, each
      [rows, inputs + targets].
    """
    counts = _joined(rows, "inputs_lengths"), _joined(rows, "targets_lengths")
    layout = _Layout(
        rows,
        [row["inputs_lengths"] + row["targets_lengths"] for row in rows],
        sum(row_shape.values()),
    )
    inputs = _joined(rows, "inputs")
    from_inputs = np.repeat(counts[0], counts[0] + counts[1])
    reads_inputs = layout.positions <= from_inputs
    is_input = layout.positions < from_inputs

    def join(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        joined = np.empty(len(is_input), np.int32)
        joined[is_input], joined[~is_input] = left, right
        return joined

    read = _filled(rows, "targets_read")
    group_ids = None
    if groups:
        # Group 0 is seen by all: what the decoder reads of the inputs, one place later.
        group_ids = join(np.zeros_like(inputs), _filled(rows, "targets_groups"))
        group_ids[reads_inputs] = 0
    on_inputs = np.full_like(inputs, int(loss_on_inputs))
    features = _decoder_features(
        layout,
        task_ids,
        targets=join(inputs, _joined(rows, "targets")),
        weights=join(on_inputs, _filled(rows, "targets_weights")),
        read=join(inputs, read),
        groups=group_ids,
    )
    return {**features, "decoder_causal_attention": layout.pad(reads_inputs)}


class _Layout:
    """Where the tokens of one feature of all rows lie, one row after the other."""

    def __init__(self, rows: Sequence[Row], lengths: Sequence[np.ndarray], row_length: int):
        per_example = np.concatenate(lengths)
        per_row = np.array([part.sum() for part in lengths])
        per_row_examples = np.array([len(part) for part in lengths])
        total = int(per_row.sum())
        starts = np.cumsum(per_example) - per_example
        first_example = np.repeat(np.cumsum(per_row_examples) - per_row_examples, per_row_examples)
        places = np.arange(len(per_example)) - first_example + 1
        self.segments = np.repeat(places, per_example)
        self.positions = np.arange(total) - np.repeat(starts, per_example)
        self.starts = starts[per_example > 0]
        self._mask = np.arange(row_length)[None] < per_row[:, None]
        if (per_row > row_length).any():
            raise ValueError(f"a row has {per_row.max()} tokens, its shape {row_length}")

    def pad(self, values: np.ndarray, dtype: type = np.int32) -> np.ndarray:
        """Returns [rows, length]: `values` [tokens] cut into rows, zeros behind."""
        padded: np.ndarray = np.zeros(self._mask.shape, dtype)
        padded[self._mask] = values
        return padded

    def pad_row_values(self, values: np.ndarray) -> np.ndarray:
        """Returns [rows, length]: a value of each row, [rows], at each of its tokens."""
        return np.where(self._mask, values[:, None], 0).astype(np.int32)

    def shift(self, tokens: np.ndarray) -> np.ndarray:
        """Returns [tokens]: each one place later, 0 where an example begins."""
        shifted = np.empty_like(tokens)
        shifted[1:] = tokens[:-1]
        shifted[self.starts] = 0
        return shifted


def _joined(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.concatenate([row[name] for row in rows])


def _filled(rows: Sequence[Row], name: str) -> np.ndarray:
    """Returns [tokens] of a feature per target; where a row stores none, what that stands for."""
    parts = []
    for row in rows:
        part = row.get(name)
        if part is None or len(part) != len(row["targets"]):
            targets = row["targets"]
            part = targets if name == "targets_read" else np.ones_like(targets)
        parts.append(part)
    return np.concatenate(parts)


def _decoder_features(
    layout: _Layout,
    task_ids: np.ndarray,
    *,
    targets: np.ndarray,
    weights: np.ndarray,
    read: np.ndarray,
    groups: np.ndarray | None,
) -> Batch:
    inputs = layout.shift(read)
    targets = np.where(targets == 0, read, targets)  # a target of 0 would pass for padding
    if groups is not None:
        before = np.concatenate([groups[:1], groups[:-1]])
        # Group 1 follows the inputs, or begins an example, and reads what it always reads.
        inputs[(groups > 1) & (groups != before)] = 0
    classes = np.array(TARGET_WEIGHT_OF_CLASS, np.float32)
    features = {
        "decoder_input_tokens": layout.pad(inputs),
        "decoder_target_tokens": layout.pad(targets),
        "decoder_loss_weights": layout.pad(classes[weights], np.float32),
        "decoder_segment_ids": layout.pad(layout.segments),
        "decoder_positions": layout.pad(layout.positions),
        "decoder_task_ids": layout.pad_row_values(task_ids),
    }
    if groups is not None:
        features["decoder_group_ids"] = layout.pad(groups)
    return features
