"""Cross-entropy over the targets of a batch and their nearest output embeddings.

With hundreds of thousands of entries most of a softmax is spent on entries that are far from every
target. Trained is `logsumexp(z_c over c in C) - z_y`, where C holds the targets of the batch and,
of each, the k entries with the largest inner products of output embeddings. Lists of neighbours
are kept in the train state and made anew once in a period of steps.

References:
  Zheng et al. (2021), "Allocating Large Vocabulary Capacity for Cross-lingual Language Model
  Pre-training", EMNLP, arXiv:2109.07306 (k-NN-based target sampling). There the lists of the whole
  vocabulary are made at the beginning of a period; here that of an entry is made when it is a
  target for the first time in a period: from newer embeddings, and only for entries that occur.
"""

import dataclasses

import jax
import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.losses.base import Loss, Weight
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.candidates import (
    Candidates,
    choose_candidates,
    list_marked,
    mark_targets,
)
from xlingual.losses.nearest_neighbours import SearchOptions, renew_neighbours
from xlingual.losses.vocabulary_blocks import BlockOptions
from xlingual.losses.vocabulary_shards import blockwise_total
from xlingual.outputs import LossTerm, Metric, ModelOutputs, Readout
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array, Batch, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighbourCrossEntropy:
    """`exact` wherever nothing is trained; in a training step the same over candidates only.

    It is a `losses.memory.RememberingLoss`. Its arrays are `neighbours` [vocab, k] int32 and
    `period` [vocab] int32, the period in which a list was made (-1: never); every device has both.

    Attributes:
      exact: what is approximated: weight, z-loss (over candidates in training), divisor, blocks.
      num_neighbours: k, entries of a list; an entry may be in its own.
      refresh_period_steps: lists that were made before the last multiple of so many steps are not
        used again.
      max_candidates: most entries of a step, on which memory depends; targets go first, then
        neighbours by rank, see `candidates.choose_candidates`. A token whose target finds no room
        has no part in the step. A vocabulary that is smaller has room as a whole.
      query_block: entries whose neighbours are searched together, on each device.

    Raises:
      ConfigError: a number below 1, or label smoothing, which would have to spread mass over
        entries that are not there.
    """

    exact: BlockwiseCrossEntropy = dataclasses.field(default_factory=BlockwiseCrossEntropy)
    num_neighbours: int = 50
    refresh_period_steps: int = 1000
    max_candidates: int = 32768
    query_block: int = 128

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name in ("num_neighbours", "refresh_period_steps", "max_candidates", "query_block"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; expected at least 1")
        if self.exact.label_smoothing:
            raise ConfigError(
                f"label_smoothing={self.exact.label_smoothing} with NeighbourCrossEntropy; "
                "expected 0: candidates are not the vocabulary that it spreads mass over"
            )

    @property
    def weight(self) -> Weight:
        """That of `exact`."""
        return self.exact.weight

    @property
    def requires_features(self) -> tuple[str, ...]:
        """Those of `exact`."""
        return self.exact.requires_features

    @property
    def requires_outputs(self) -> tuple[str, ...]:
        """Those of `exact`."""
        return self.exact.requires_outputs

    def normalizer(self, batch: Batch) -> Array:
        """Returns that of `exact`, [] float32."""
        return self.exact.normalizer(batch)

    def __call__(self, outputs: ModelOutputs, batch: Batch) -> LossTerm:
        """Returns the exact term, over the whole vocabulary."""
        return self.exact(outputs, batch)

    def init_extra(self, outputs: ModelOutputs) -> PyTree:
        """Returns empty lists; see `RememberingLoss`.

        Raises:
          ConfigError: the model has no `readout`, or fewer entries than a list.
        """
        vocab_size = _vocab_size(_readout(outputs))
        if self.num_neighbours > vocab_size:
            raise ConfigError(
                f"num_neighbours={self.num_neighbours}; expected at most the {vocab_size} entries "
                "of the vocabulary"
            )
        return {
            "neighbours": jnp.zeros((vocab_size, self.num_neighbours), jnp.int32),
            "period": jnp.full(vocab_size, -1, jnp.int32),
        }

    def update_extra(
        self, extra: PyTree, outputs: ModelOutputs, batch: Batch, step: Array
    ) -> tuple[PyTree, Loss]:
        """Returns lists of all targets of the batch, and the loss over them; see `memory`."""
        readout = _readout(outputs)
        targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        vocab_size = _vocab_size(readout)
        most_targets = min(targets.size, vocab_size)
        is_target = mark_targets(targets, weights, vocab_size)
        period = (step // self.refresh_period_steps).astype(jnp.int32)
        old = is_target & (extra["period"] != period)
        ids, num_searched = list_marked(old, most_targets)
        neighbours = renew_neighbours(
            extra["neighbours"],
            jax.lax.stop_gradient(readout.table),
            ids,
            num_searched,
            SearchOptions(
                query_block=min(self.query_block, most_targets),
                vocab_block=self.exact.vocab_block,
                by_row=readout.by_row,
                dtype=readout.states.dtype,
            ),
        )
        ids, _ = list_marked(is_target, most_targets)
        most = min(self.max_candidates, vocab_size)
        loss = _CandidateLoss(
            exact=self.exact,
            candidates=choose_candidates(is_target, ids, neighbours, most),
            num_searched=num_searched,
        )
        periods = jnp.where(is_target, period, extra["period"])
        return {"neighbours": neighbours, "period": periods}, loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class _CandidateLoss:
    """The loss of one training step.

    Attributes:
      exact: weight, z-loss, divisor and blocks.
      candidates: over which the softmax runs.
      num_searched: [] int32, entries whose neighbours were searched in this step.
    """

    exact: BlockwiseCrossEntropy
    candidates: Candidates
    num_searched: Array

    @property
    def weight(self) -> Weight:
        return self.exact.weight

    @property
    def requires_features(self) -> tuple[str, ...]:
        return self.exact.requires_features

    @property
    def requires_outputs(self) -> tuple[str, ...]:
        return self.exact.requires_outputs

    def normalizer(self, batch: Batch) -> Array:
        return self.exact.normalizer(batch)

    def __call__(self, outputs: ModelOutputs, batch: Batch) -> LossTerm:
        """Returns the weighted sum over tokens whose target is a candidate.

        Token metrics are those of `CrossEntropy` over candidates; so that it is not taken for the
        other, accuracy is named `accuracy_of_candidates`. Scalar metrics are numbers of entries:
        `candidates`, `searched`, and `neighbours_left_out` and `targets_left_out` for want of room.
        """
        readout, chosen, exact = _readout(outputs), self.candidates, self.exact
        places = chosen.places[batch["decoder_target_tokens"]]
        weights = jnp.where(places >= 0, batch["decoder_loss_weights"], 0.0)
        counted = {**batch, "decoder_loss_weights": weights}
        total, statistics = blockwise_total(
            readout.states,
            _rows(readout, chosen.ids),
            jnp.maximum(places, 0),
            exact.shares(counted),
            BlockOptions(
                token_block=exact.token_block,
                vocab_block=exact.vocab_block,
                z_loss=exact.z_loss,
                label_smoothing=0.0,
                by_row=readout.by_row,
            ),
            jnp.maximum(chosen.count, 1),
        )
        term = exact.make_term(total, statistics, counted)
        values = dict(term.token_metrics)
        values["accuracy_of_candidates"] = values.pop("accuracy")
        numbers = {
            "candidates": chosen.count,
            "searched": self.num_searched,
            "neighbours_left_out": chosen.num_neighbours_left_out,
            "targets_left_out": chosen.num_targets_left_out,
        }
        return LossTerm(
            total=term.total,
            metrics={
                name: Metric(total=number.astype(jnp.float32), weight=jnp.ones((), jnp.float32))
                for name, number in numbers.items()
            },
            token_metrics=values,
        )


def _readout(outputs: ModelOutputs) -> Readout:
    if outputs.readout is None:
        raise ConfigError("outputs.readout=None; expected a model that gives states and table")
    return outputs.readout


def _vocab_size(readout: Readout) -> int:
    return readout.table.shape[0 if readout.by_row else 1]


def _rows(readout: Readout, ids: Array) -> Array:
    """Returns candidates' part of the table, zeros behind them; its gradient is as thin."""
    rows = jnp.take(
        readout.table,
        ids,
        axis=0 if readout.by_row else 1,
        mode="fill",
        fill_value=0,
        unique_indices=True,
        indices_are_sorted=True,
    )
    return constrain(rows, ("vocab", "embed") if readout.by_row else ("embed", "vocab"))
