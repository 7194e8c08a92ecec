"""How much of the devices' arithmetic goes into training: MFU and fill, by useful and nominal work.

Useful work counts real tokens, and attention between tokens of the same example; nominal work
counts every position of every row, which is what the devices compute. Both count forward and
backward, by parts that meet different tokens (`models/flops.py`), so that an encoder-decoder is
not charged for encoder tokens in its decoder.
"""

from collections.abc import Mapping, Sequence

import jax

from xlingual.models.base import Model
from xlingual.models.flops import TokenCounts, nominal_tokens
from xlingual.reporting.metrics import Sums
from xlingual.reporting.utilization import flops_utilization


class Throughput:
    """Adds up work and time between two log lines."""

    def __init__(
        self,
        model: Model,
        spec: Mapping[str, jax.ShapeDtypeStruct],
        devices: Sequence[jax.Device],
    ) -> None:
        """Makes an empty one.

        Args:
          model: counts operations.
          spec: name -> global shape of a batch feature.
          devices: all devices that take part.
        """
        self._model = model
        self._devices = tuple(devices)
        self._nominal_flops = model.train_flops(nominal_tokens(spec)).total
        suffix = "_segment_ids"
        self._positions = {
            name.removesuffix(suffix): leaf.size
            for name, leaf in spec.items()
            if name.endswith(suffix)
        }
        self._start_period()

    def _start_period(self) -> None:
        self._steps = 0
        self._seconds = 0.0
        self._useful_flops = 0.0
        self._tokens = dict.fromkeys(self._positions, 0)

    def add(self, sums: Sums, seconds: float) -> None:
        """Enters one step, on the host."""
        self._steps += 1
        self._seconds += seconds
        self._useful_flops += self._model.train_flops(useful_tokens(sums)).total
        for stack in self._tokens:
            self._tokens[stack] += int(sums.tokens[stack])

    def take(self) -> dict[str, float]:
        """Returns the numbers since the last call, and starts a new period.

        `useful_flops_per_second`; `STACK_fill`, the share of positions that are not padding; on
        known devices `mfu` (useful work over peak) and `nominal_mfu`.
        """
        numbers: dict[str, float] = {}
        if self._steps and self._seconds > 0:
            numbers["useful_flops_per_second"] = self._useful_flops / self._seconds
            for stack, positions in self._positions.items():
                numbers[f"{stack}_fill"] = self._tokens[stack] / (positions * self._steps)
            work = {"mfu": self._useful_flops, "nominal_mfu": self._nominal_flops * self._steps}
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
