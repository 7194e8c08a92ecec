"""The form of the batches that benchmarks make, without data, SeqIO or TensorFlow."""

import dataclasses
from collections.abc import Mapping

import jax

from xlingual.models.base import Model

_DECODER = ("input_tokens", "target_tokens", "loss_weights", "segment_ids", "positions", "task_ids")
_ENCODER = ("input_tokens", "segment_ids", "positions")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantSource:
    """Stands where a run has its data, for benchmarks only: it knows shapes, and has no batches.

    Attributes:
      model: whose features the batches have.
      task_feature_lengths: of `inputs` and `targets`, in tokens; a decoder-only row has both.
      batch_size: rows.
    """

    model: Model
    task_feature_lengths: Mapping[str, int]
    batch_size: int

    @property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype of a feature of a batch."""
        inputs, targets = (self.task_feature_lengths[name] for name in ("inputs", "targets"))
        reads = self.model.requires_features
        encoder = [f"encoder_{name}" for name in _ENCODER if "encoder_input_tokens" in reads]
        lengths = dict.fromkeys(encoder, inputs)
        names = [*(f"decoder_{name}" for name in _DECODER), *reads]
        decoder = (name for name in names if name.startswith("decoder"))
        lengths |= dict.fromkeys(decoder, targets if encoder else inputs + targets)
        return {
            name: jax.ShapeDtypeStruct(
                (self.batch_size, length), "float32" if name.endswith("weights") else "int32"
            )
            for name, length in lengths.items()
        }
