"""The loss of `cross_entropy.py` without logits: from final states and output table, in blocks."""

import dataclasses

from xlingual.errors import ConfigError
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.losses.vocabulary_blocks import BlockOptions
from xlingual.losses.vocabulary_shards import blockwise_total
from xlingual.outputs import LossTerm, ModelOutputs
from xlingual.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockwiseCrossEntropy(CrossEntropy):
    """`CrossEntropy` that never stores the logits: same options, values, gradients and metrics.

    For large vocabularies. Of logits it keeps [token_block, vocab] numbers at a time, see
    `vocabulary_shards`.

    Attributes:
      token_block: most tokens of a block, on each device. Memory grows with it; the gradient of
        the table is read and written once a block, so that time falls with it.
      vocab_block: most vocabulary entries of a block, on each device: on a processor, so many that
        a block of logits stays in its cache.

    Raises:
      ConfigError: a value is out of range.
    """

    token_block: int = 512
    vocab_block: int = 4096

    def __post_init__(self) -> None:
        """Checks the sizes of blocks too."""
        super().__post_init__()
        for name in ("token_block", "vocab_block"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; expected at least 1")

    @property
    def requires_outputs(self) -> tuple[str, ...]:
        """What logits are the product of."""
        return ("readout",)

    def __call__(self, outputs: ModelOutputs, batch: Batch) -> LossTerm:
        """Returns the weighted sum of token losses, and values per token.

        Args:
          outputs: `readout`.
          batch: as in `CrossEntropy`.

        Returns:
          The term that `CrossEntropy` returns for the same model.

        Raises:
          ConfigError: the model has no `readout`.
        """
        readout = outputs.readout
        if readout is None:
            raise ConfigError("outputs.readout=None; expected a model that gives states and table")
        total, statistics = blockwise_total(
            readout.states,
            readout.table,
            batch["decoder_target_tokens"],
            self.shares(batch),
            BlockOptions(
                token_block=self.token_block,
                vocab_block=self.vocab_block,
                z_loss=self.z_loss,
                label_smoothing=self.label_smoothing,
                by_row=readout.by_row,
            ),
        )
        return self.make_term(total, statistics, batch)
