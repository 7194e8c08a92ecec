"""From task features to model features, with per-token weights and task ids that survive packing.

Both converters are SeqIO feature converters and accept its task features `inputs` and `targets`,
plus optional ones that SeqIO does not know: `targets_weights` (a class for each target token),
`task_id` (a scalar), and two that only some objectives emit:

* `targets_groups` (>= 1, one for each target token) asks for partially non-autoregressive decoding:
  the model feature `decoder_group_ids` appears, and each further group begins with the start
  symbol. Groups 1 1 1 2 2 of targets S0 a b S1 $: decoder inputs 0 S0 a 0 S1.
* `targets_read` is what the decoder reads in the place of `targets`. Targets 10 20 41 30 read as
  10 40 41 30: decoder inputs 0 10 40 41.

Whether packed or not, they give every feature that the models read.

References:
  Chi et al., 2021, mT6, EMNLP (groups). Li et al., 2024, PreAlign (what is read differs).
  Roberts et al., 2022, Scaling Up Models and Data with t5x and seqio, arXiv:2203.17189 (feature
  converters). Raffel et al., 2020, arXiv:1910.10683, section 3.2.1 (prefix language models).
"""

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Self

import seqio
import tensorflow as tf

from xlingual.cache.rows import TARGET_WEIGHT_OF_CLASS
from xlingual.data import packing
from xlingual.data.leaf_streams import OPTIONAL_FEATURES
from xlingual.errors import ConfigError

_Features = Mapping[str, tf.Tensor]
_Conversion = Callable[[tf.data.Dataset], tf.data.Dataset]
_INT = seqio.FeatureConverter.FeatureSpec(dtype=tf.int32)
_FLOAT = seqio.FeatureConverter.FeatureSpec(dtype=tf.float32)
_DECODER_FEATURES = {
    "decoder_input_tokens": _INT,
    "decoder_target_tokens": _INT,
    "decoder_loss_weights": _FLOAT,
    "decoder_segment_ids": _INT,
    "decoder_positions": _INT,
    "decoder_task_ids": _INT,
}
_GROUP_FEATURES = {"decoder_group_ids": _INT}
_ENCODER_FEATURES = {
    "encoder_input_tokens": _INT,
    "encoder_segment_ids": _INT,
    "encoder_positions": _INT,
}


class _InGroups:
    """Converts examples group by group, traced once for each pair of lengths."""

    MODEL_FEATURES: Mapping[str, seqio.FeatureConverter.FeatureSpec]
    _group_size: int
    _traced: dict[str, _Conversion]
    _convert_group: Callable[..., _Features]

    def __call__(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        """Returns the rows of examples, with the model features that their optional ones ask for.

        Args:
          ds: examples.
          task_feature_lengths: limits of `inputs` and `targets`, in tokens.
        """
        converter = self.for_features(ds.element_spec)
        return super(_InGroups, converter).__call__(ds, task_feature_lengths)  # type: ignore[misc]

    def for_features(self, names: Collection[str]) -> Self:
        """Returns the converter for examples with the task features `names`.

        Its `MODEL_FEATURES` and their lengths are those of the rows of such examples.
        """
        if "targets_groups" not in names:
            return self
        return self._with_groups

    @functools.cached_property
    def _with_groups(self) -> Self:
        other = copy.copy(self)
        other.MODEL_FEATURES = {**self.MODEL_FEATURES, **_GROUP_FEATURES}
        other._traced = {}
        other.__dict__["_with_groups"] = other
        return other

    def _convert_features(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        key = repr(sorted(task_feature_lengths.items()))
        if key not in self._traced:
            convert = functools.partial(self._convert_group, lengths=dict(task_feature_lengths))
            self._traced[key] = _trace(convert, self._group_size)
        return self._traced[key](ds)


class EncDecFeatureConverter(_InGroups, seqio.EncDecFeatureConverter):
    """Converter for encoder-decoder models.

    Example, packed, with lengths inputs 8 and targets 6, task ids 1 and 2::

        inputs 7 8 1 -> targets 3 9 1, weights 1 0 1      inputs 5 1 -> targets 4 1

        encoder_input_tokens   7 8 1 5 1 0 0 0    decoder_target_tokens  3 9 1 4 1 0
        encoder_segment_ids    1 1 1 2 2 0 0 0    decoder_input_tokens   0 3 9 0 4 0
        encoder_positions      0 1 2 0 1 0 0 0    decoder_loss_weights   1 0 1 1 1 0
                                                  decoder_segment_ids    1 1 1 2 2 0
                                                  decoder_positions      0 1 2 0 1 0
                                                  decoder_task_ids       1 1 1 2 2 0
    """

    MODEL_FEATURES = MappingProxyType({**_ENCODER_FEATURES, **_DECODER_FEATURES})
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, tf.DType]] = {}

    def __init__(self, *, pack: bool = True, group_size: int = 512):
        """Makes the converter.

        Args:
          pack: several examples a row; else one.
          group_size: examples packed together; larger fills better and holds more in memory.
        """
        super().__init__(pack=pack, apply_length_check=False)
        self._group_size = _checked_group_size(pack, group_size)
        self._traced: dict[str, _Conversion] = {}

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        """Returns the row length of each model feature.

        Raises:
          ConfigError: rows of inputs would be empty.
        """
        inputs, targets = task_feature_lengths["inputs"], task_feature_lengths["targets"]
        if inputs < 1:
            raise ConfigError(
                f"task_feature_lengths['inputs']={inputs}; an encoder-decoder needs at least 1"
            )
        return {
            name: inputs if name in _ENCODER_FEATURES else targets for name in self.MODEL_FEATURES
        }

    def _convert_group(self, group: _Features, lengths: Mapping[str, int]) -> _Features:
        example = _Examples.from_group(group, lengths)
        limits = (lengths["inputs"], lengths["targets"])
        counts = tf.stack([example.num_inputs, example.num_targets], axis=1)
        arrangement = _arrange(counts, limits, self.pack)
        example = example.reorder(arrangement.order)
        encoder = packing.lay_out(arrangement, example.num_inputs, limits[0])
        decoder = packing.lay_out(arrangement, example.num_targets, limits[1])
        flatten = functools.partial(_flatten, counts=example.num_targets)
        return {
            "encoder_input_tokens": encoder.pad(_flatten(example.inputs, example.num_inputs)),
            "encoder_segment_ids": encoder.per_example(arrangement.segments),
            "encoder_positions": encoder.pad(encoder.positions),
            **_decoder_features(
                decoder,
                arrangement,
                example.task_ids,
                targets=flatten(example.targets),
                weights=flatten(example.weights),
                read=None if example.read is None else flatten(example.read),
                groups=None if example.groups is None else flatten(example.groups),
            ),
        }


class DecoderFeatureConverter(_InGroups, seqio.PrefixLMFeatureConverter):
    """Converter for decoder-only models: `inputs` and `targets` become one sequence.

    Rows are as long as both lengths together. Tasks without `inputs` emit them empty.
    `decoder_causal_attention` is 1 where attention may be bidirectional: the inputs plus one
    position, because decoder inputs are shifted by one. (The name is SeqIO's.)

    Example, packed, row length 12, `5 6 1 -> 7 8 1` and `9 1 -> 10 1`::

        decoder_target_tokens     5 6 1 7 8 1 9 1 10 1 0 0
        decoder_input_tokens      0 5 6 1 7 8 0 9 1 10 0 0
        decoder_loss_weights      0 0 0 1 1 1 0 0 1 1 0 0
        decoder_segment_ids       1 1 1 1 1 1 2 2 2 2 0 0
        decoder_positions         0 1 2 3 4 5 0 1 2 3 0 0
        decoder_causal_attention  1 1 1 1 0 0 1 1 1 0 0 0
    """

    MODEL_FEATURES = MappingProxyType({**_DECODER_FEATURES, "decoder_causal_attention": _INT})
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, tf.DType]] = {}

    def __init__(self, *, pack: bool = True, loss_on_inputs: bool = False, group_size: int = 512):
        """Makes the converter.

        Args:
          pack: several examples a row; else one.
          loss_on_inputs: weight 1 on input tokens too.
          group_size: examples packed together; larger fills better and holds more in memory.
        """
        super().__init__(
            loss_on_targets_only=not loss_on_inputs, pack=pack, apply_length_check=False
        )
        self._loss_on_inputs = loss_on_inputs
        self._group_size = _checked_group_size(pack, group_size)
        self._traced: dict[str, _Conversion] = {}

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        """Returns the row length, the same for each model feature."""
        length = sum(task_feature_lengths.values())
        return dict.fromkeys(self.MODEL_FEATURES, length)

    def _convert_group(self, group: _Features, lengths: Mapping[str, int]) -> _Features:
        limit = sum(lengths.values())
        example = _Examples.from_group(group, {"inputs": limit, "targets": limit})
        counts = example.num_inputs + example.num_targets
        arrangement = _arrange(counts[:, None], (limit,), self.pack)
        example = example.reorder(arrangement.order)
        rows = packing.lay_out(arrangement, example.num_inputs + example.num_targets, limit)
        on_inputs = tf.fill(tf.shape(example.inputs), int(self._loss_on_inputs))
        reads_inputs = rows.positions <= tf.gather(example.num_inputs, rows.examples)
        read, groups = example.read, example.groups
        if read is not None:
            read = _join(example.inputs, read, example)
        if groups is not None:
            # Group 0 is seen by all: what the decoder reads of the inputs, one place later.
            groups = _join(tf.zeros_like(example.inputs), groups, example)
            groups = tf.where(reads_inputs, 0, groups)
        return {
            **_decoder_features(
                rows,
                arrangement,
                example.task_ids,
                targets=_join(example.inputs, example.targets, example),
                weights=_join(on_inputs, example.weights, example),
                read=read,
                groups=groups,
            ),
            "decoder_causal_attention": rows.pad(tf.cast(reads_inputs, tf.int32)),
        }


@dataclasses.dataclass(frozen=True)
class _Examples:
    """A group of examples.

    Attributes:
      inputs: [examples, longest] int32, zeros behind; likewise `targets` and `weights`.
      num_inputs: [examples] int32, tokens; likewise `num_targets`.
      task_ids: [examples] int32.
      read: [examples, longest] int32, what the decoder reads as targets; None for the targets.
      groups: [examples, longest] int32, group of each target; None where no task has any.
    """

    inputs: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    num_inputs: tf.Tensor
    num_targets: tf.Tensor
    task_ids: tf.Tensor
    read: tf.Tensor | None = None
    groups: tf.Tensor | None = None

    @classmethod
    def from_group(cls, group: Mapping[str, tf.Tensor], limits: Mapping[str, int]) -> "_Examples":
        num_inputs, num_targets, task_ids = tf.unstack(group["header"], axis=1)
        checks = [
            tf.debugging.assert_less_equal(
                tf.reduce_max(count),
                limits[name],
                message=f"an example has more {name} tokens than its row may hold ({limits[name]})",
            )
            for name, count in (("inputs", num_inputs), ("targets", num_targets))
        ]
        with tf.control_dependencies(checks):
            num_inputs = tf.identity(num_inputs)
        return cls(
            inputs=group["inputs"],
            targets=group["targets"],
            weights=group["targets_weights"],
            num_inputs=num_inputs,
            num_targets=num_targets,
            task_ids=task_ids,
            read=group.get("targets_read"),
            groups=group.get("targets_groups"),
        )

    def reorder(self, order: tf.Tensor) -> "_Examples":
        present = {name: value for name, value in vars(self).items() if value is not None}
        return _Examples(**{name: tf.gather(value, order) for name, value in present.items()})


def _checked_group_size(pack: bool, group_size: int) -> int:
    if group_size < 1:
        raise ConfigError(f"group_size is {group_size}, expected at least 1")
    return group_size if pack else min(group_size, 64)


def _arrange(counts: tf.Tensor, limits: Sequence[int], pack: bool) -> packing.Arrangement:
    if pack:
        return packing.arrange_packed(counts, limits)
    return packing.arrange_single(tf.shape(counts)[0])


def _trace(convert: Callable[[_Features], _Features], group_size: int) -> _Conversion:
    """Returns the function from examples to rows, traced once for all data sets of a converter."""
    parallel_calls = max(1, min(8, os.cpu_count() or 1))

    def rows(examples: tf.data.Dataset) -> tf.data.Dataset:
        examples = examples.map(_with_header, num_parallel_calls=parallel_calls)
        groups = examples.padded_batch(group_size)
        return groups.map(convert, num_parallel_calls=parallel_calls).unbatch()

    return tf.function(tf.autograph.experimental.do_not_convert(rows), autograph=False)


def _with_header(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Fills in missing optional features, and notes lengths before padding hides them."""
    inputs, targets = example["inputs"], example["targets"]
    per_target = {"targets_weights": tf.ones_like(targets)}
    names = ("targets_weights", *OPTIONAL_FEATURES)
    per_target.update({name: example[name] for name in names if name in example})
    for name, value in per_target.items():
        tf.debugging.assert_equal(
            tf.size(value), tf.size(targets), message=f"{name} and targets differ in length"
        )
    task_id = tf.cast(example.get("task_id", 1), tf.int32)
    return {
        "inputs": inputs,
        "targets": targets,
        **per_target,
        "header": tf.stack([tf.size(inputs), tf.size(targets), task_id]),
    }


def _flatten(padded: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Returns [tokens]: the first `counts[i]` entries of each row, one after the other."""
    return tf.RaggedTensor.from_tensor(padded, lengths=counts).flat_values


def _join(inputs: tf.Tensor, targets: tf.Tensor, example: _Examples) -> tf.Tensor:
    """Returns [tokens]: the inputs of each example followed by its targets."""
    left = tf.RaggedTensor.from_tensor(inputs, lengths=example.num_inputs)
    right = tf.RaggedTensor.from_tensor(targets, lengths=example.num_targets)
    return tf.concat([left, right], axis=1).flat_values


def _decoder_features(
    rows: packing.Rows,
    arrangement: packing.Arrangement,
    task_ids: tf.Tensor,
    *,
    targets: tf.Tensor,
    weights: tf.Tensor,
    read: tf.Tensor | None,
    groups: tf.Tensor | None,
) -> dict[str, tf.Tensor]:
    inputs = rows.shift(targets if read is None else read)
    if read is not None:
        targets = tf.where(targets == 0, read, targets)  # a target of 0 would pass for padding
    features = {
        "decoder_input_tokens": inputs,
        "decoder_target_tokens": rows.pad(targets),
        "decoder_loss_weights": rows.pad(tf.gather(TARGET_WEIGHT_OF_CLASS, weights)),
        "decoder_segment_ids": rows.per_example(arrangement.segments),
        "decoder_positions": rows.pad(rows.positions),
        "decoder_task_ids": rows.per_example(task_ids),
    }
    if groups is not None:
        before = tf.concat([groups[:1], groups[:-1]], axis=0)
        # Group 1 follows the inputs, or begins an example, and reads what it always reads.
        opens = (groups > 1) & (groups != before)
        features["decoder_input_tokens"] = tf.where(rows.pad(opens), 0, inputs)
        features["decoder_group_ids"] = rows.pad(groups)
    return features
