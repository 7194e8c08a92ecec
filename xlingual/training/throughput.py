"""How much of the devices' arithmetic goes into training: MFU and fill, by useful and nominal work.

Useful work counts real tokens, and attention between tokens of the same example; nominal work
counts every position of every row, which is what the devices compute. Both count forward and
backward, by parts that meet different tokens (`models/flops.py`), so that an encoder-decoder is
not charged for encoder tokens in its decoder.
"""

import math
from collections import Counter
from collections.abc import Sequence

import jax

from xlingual.models.base import Model
from xlingual.models.flops import TokenCounts, nominal_tokens
from xlingual.reporting.metrics import Sums
from xlingual.reporting.utilization import flops_utilization
from xlingual.training.state import BatchSpec


class Throughput:
    """Adds up work and time between two log lines."""

    def __init__(
        self,
        model: Model,
        spec: BatchSpec,
        devices: Sequence[jax.Device],
    ) -> None:
        """Makes an empty one.

        Args:
          model: counts operations.
          spec: name -> global shape of a batch feature, where `add` is not told of another.
          devices: all devices that take part.
        """
        self._model = model
        self._devices = tuple(devices)
        self._spec = spec
        self._start_period()

    def _start_period(self) -> None:
        self._seconds = 0.0
        self._useful_flops = self._nominal_flops = 0.0
        self._tokens: Counter[str] = Counter()
        self._positions: Counter[str] = Counter()

    def add(self, sums: Sums, seconds: float, spec: BatchSpec | None = None) -> None:
        """Enters one step, on the host.

        Args:
          sums: of its batch.
          seconds: that it took.
          spec: name -> global shape of a feature of its batch, where row shapes change.
        """
        shapes = self._spec if spec is None else spec
        self._seconds += seconds
        self._useful_flops += self._model.train_flops(useful_tokens(sums)).total
        self._nominal_flops += self._model.train_flops(nominal_tokens(shapes)).total
        suffix = "_segment_ids"
        for name, leaf in shapes.items():
            if name.endswith(suffix):
                stack = name.removesuffix(suffix)
                self._positions[stack] += math.prod(leaf.shape)
                self._tokens[stack] += int(sums.tokens[stack])

    def take(self) -> dict[str, float]:
        """Returns the numbers since the last call, and starts a new period.

        `useful_flops_per_second`; `STACK_fill`, the share of positions that are not padding; on
        known devices `mfu` (useful work over peak) and `nominal_mfu`.
        """
        numbers: dict[str, float] = {}
        if self._seconds > 0:
            numbers["useful_flops_per_second"] = self._useful_flops / self._seconds
            for stack, positions in self._positions.items():
                numbers[f"{stack}_fill"] = self._tokens[stack] / positions
            work = {"mfu": self._useful_flops, "nominal_mfu": self._nominal_flops}
            for name, flops in work.items():
                share = flops_utilization(flops, self._seconds, self._devices)
                numbers |= {} if share is None else {name: share}
        self._start_period()
        return numbers


def useful_tokens(sums: Sums) -> TokenCounts:
    """Returns the counts of a batch in which only real tokens count.

    A query meets the keys of its own example; the mean over queries is exact for self-attention
    and stands in for cross-attention, whose queries spread over examples in another way.

    Args:
      sums: of the batch, on the host.
    """
    tokens = {stack: float(count) for stack, count in sums.tokens.items()}
    keys = {
        stack: float(sums.pairs[stack]) / count if count else 0.0 for stack, count in tokens.items()
    }
    return TokenCounts(
        encoder=tokens.get("encoder", 0.0),
        decoder=tokens.get("decoder", 0.0),
        encoder_length=keys.get("encoder", 0.0),
        decoder_length=keys.get("decoder", 0.0),
    )
