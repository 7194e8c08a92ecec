"""How long a step takes at least, and how long if nothing overlaps: from counts and makers' rates.

References:
  Williams, Waterman & Patterson, 2009, "Roofline: An Insightful Visual Performance Model for
  Multicore Architectures", doi:10.1145/1498765.1498785; Chowdhery et al., 2022, arXiv:2204.02311,
  appendix B (MFU).
"""

import dataclasses
import math

from xlingual.compilation.costs import Collective, Costs
from xlingual.compilation.topologies import Chip, Slice

PRODUCT_EFFICIENCY = 0.7
"""Share of the peak that large bfloat16 products reach; an assumption, not a measurement."""

ASSUMPTIONS = (
    f"products at {PRODUCT_EFFICIENCY:.0%} of the peak, recomputed ones included",
    "memory traffic at the maker's rate, everything between fusions counted",
    "collectives on rings over two torus axes at most, links one way at the scaling book's rate",
    "between slices at a device's share of its host's network",
    "the estimate takes the larger of arithmetic and memory traffic, plus all communication (no "
    "overlap); the bound below it takes the largest of the four (full overlap)",
    "MFU counts the formula's FLOPs, without recomputation, against the peak",
)
"""What the estimate rests on, for print."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roofline:
    """Seconds of one step.

    Attributes:
      compute_seconds: arithmetic.
      hbm_seconds: memory traffic.
      ici_seconds: communication inside a slice.
      dcn_seconds: communication between slices.
      mfu: model FLOPs utilisation at `seconds`.
    """

    compute_seconds: float
    hbm_seconds: float
    ici_seconds: float
    dcn_seconds: float
    mfu: float

    @property
    def seconds(self) -> float:
        """The estimate: communication does not overlap with anything."""
        busy = max(self.compute_seconds, self.hbm_seconds)
        return busy + self.ici_seconds + self.dcn_seconds

    @property
    def bound_seconds(self) -> float:
        """What no schedule can beat: everything overlaps."""
        return max(self.compute_seconds, self.hbm_seconds, self.ici_seconds, self.dcn_seconds)


def estimate(costs: Costs, where: Slice, formula_flops: float) -> Roofline:
    """Returns the time of one step on a slice.

    Args:
      costs: of one device.
      where: the slice.
      formula_flops: useful operations of all devices.
    """
    chip = where.chip
    ici = sum(_seconds(one, chip) for one in costs.collectives if not one.crosses_slices)
    dcn = sum(
        one.sent_bytes / chip.dcn_bytes_per_second
        for one in costs.collectives
        if one.crosses_slices
    )
    line = Roofline(
        compute_seconds=costs.flops / (chip.flops_per_second * PRODUCT_EFFICIENCY),
        hbm_seconds=costs.hbm_bytes / chip.hbm_bytes_per_second,
        ici_seconds=ici,
        dcn_seconds=dcn,
        mfu=0.0,
    )
    peak = len(where.devices) * chip.flops_per_second
    return dataclasses.replace(line, mfu=formula_flops / (peak * max(line.seconds, 1e-12)))


def _seconds(one: Collective, chip: Chip) -> float:
    """A group spans one torus axis, or two when it is larger than an axis of 16 can be."""
    axes = min(2, chip.torus_axes) if one.group_size > 16 else 1
    rate = 2 * axes * chip.link_bytes_per_second
    if one.kind == "all-to-all":
        # Each entry travels a quarter of a ring on average.
        rate /= max(1.0, math.sqrt(one.group_size) / 2)
    return one.sent_bytes / rate
