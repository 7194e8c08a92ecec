"""Log-likelihoods of lists of pairs, in batches of a fixed set of shapes."""

import copy
import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from xlingual.decoding.scoring import Scores, score_targets
from xlingual.evaluation.decoding_batches import BatchShapes
from xlingual.evaluation.scoring_batches import Pair, make_scoring_batch
from xlingual.models.base import Model
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import Batch, PyTree


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """How probable one target is.

    Attributes:
      tokens: [length] float32, log probability of each target token, EOS included.
    """

    tokens: np.ndarray

    @property
    def total(self) -> float:
        """Log p(target | source), in nats."""
        return float(self.tokens.sum(dtype=np.float64))

    @property
    def mean(self) -> float:
        """The same for each token."""
        return self.total / len(self.tokens)


class Scorer:
    """Scores pairs with fixed parameters."""

    def __init__(
        self,
        model: Model,
        params: PyTree,
        partitioner: Partitioner,
        *,
        inputs_shapes: BatchShapes,
        targets_shapes: BatchShapes,
    ) -> None:
        """Compiles nothing yet.

        Args:
          model: the model.
          params: unboxed parameters, placed by `partitioner`.
          partitioner: mesh and rules.
          inputs_shapes: rows, and lengths of inputs.
          targets_shapes: lengths of targets.

        Raises:
          ConfigError: a number of rows does not divide over the mesh.
        """
        for rows in inputs_shapes.rows:
            partitioner.check_batch_size(rows)
        self._model, self._params, self._partitioner = model, params, partitioner
        self._inputs_shapes, self._targets_shapes = inputs_shapes, targets_shapes
        self._score = partitioner.jit(self._run, out_shardings=partitioner.replicated)

    def __call__(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        """Returns the likelihood of each target, in order; pairs of like lengths go together.

        Raises:
          ValueError: one side of a pair is empty or longer than the longest shape.
        """
        order = sorted(range(len(pairs)), key=lambda i: [len(side) for side in pairs[i]])
        found: list[Likelihood | None] = [None] * len(pairs)
        step = self._inputs_shapes.rows[-1]
        for start in range(0, len(order), step):
            indices = order[start : start + step]
            longest = [max(len(pairs[i][side]) for i in indices) for side in (0, 1)]
            rows, columns = self._inputs_shapes.of(len(indices), longest[0])
            lengths = (columns, self._targets_shapes.of(1, longest[1])[1])
            batch = make_scoring_batch(
                self._model, [pairs[i] for i in indices], batch_size=rows, lengths=lengths
            )
            scores = jax.device_get(
                self._score(self._params, self._partitioner.shard_batch(batch))
            ).tokens
            weights = batch["decoder_loss_weights"] > 0
            for row, i in enumerate(indices):
                found[i] = Likelihood(np.asarray(scores[row])[weights[row]])
        return [likelihood for likelihood in found if likelihood is not None]

    def with_params(self, params: PyTree) -> "Scorer":
        """Returns a scorer of other parameters of the same shapes, which shares the programs."""
        other = copy.copy(self)
        other._params = params
        return other

    @property
    def num_programs(self) -> int:
        """How many programs were compiled so far."""
        return self._score.jitted._cache_size()

    def _run(self, params: PyTree, batch: Batch) -> Scores:
        return score_targets(self._model, params, batch)
