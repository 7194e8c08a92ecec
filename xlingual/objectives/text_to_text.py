"""Fine-tuning on any task that is text in and text out; no objective of pre-training.

    inputs:  x $        targets: y $

Texts that are too long are cut at their end, so that no example is lost: a model is compared with
others on the same examples (T5: Raffel et al., 2020, JMLR 21(140), section 3.1.3).
"""

from collections.abc import Mapping

from xlingual.objectives import rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.special_tokens import SpecialTokens


def text_to_text(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`, one of each pair, in order.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32}`, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens, at least 2.
      output_features: unused.
      special_tokens: the id of EOS.

    Raises:
      ConfigError: a length is missing.
    """
    del output_features
    lengths = {name: rows.feature_length(sequence_length, name) for name in ("inputs", "targets")}

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        del seeds
        sides = {"inputs": batch["src"], "targets": batch["tgt"]}
        return {
            name: rows.append_id(_cut(side, lengths[name] - 1), special_tokens.eos_id)
            for name, side in sides.items()
        }

    return rows.map_batches(dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=1)


def _cut(side: tf.RaggedTensor, length: int) -> tf.RaggedTensor:
    return rows.keep_values(side, side.values, rows.positions(side) < length)
