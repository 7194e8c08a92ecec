"""TPU slices as lists of devices that exist only for the compiler, and what their chips can do.

libtpu holds the compiler of every generation and describes slices that are not there, so that a
program for a pod is compiled on any machine. `cpu:8` stands for the first eight devices of this
process, for trials without libtpu.

References:
  cloud.google.com/tpu/docs, pages v4, v5e, v5p, v6e and tpu7x (memory and its rate, peak, links of
  a chip); Austin et al., 2025, "How to Scale Your Model", jax-ml.github.io/scaling-book, chapter 2
  (one-way rate of a link, rate of the data-centre network by chip).
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
from jax.experimental import topologies

from xlingual.errors import ConfigError
from xlingual.reporting.utilization import peak_flops_per_second

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """What one JAX device of a generation has.

    Attributes:
      generation: as in a topology, e.g. `v5p`.
      device_kind: as JAX names it.
      devices_per_chip: JAX devices of one chip; all other figures are those of one device.
      hbm_bytes: memory of the device that libtpu 0.0.42 lets a program fill.
      hbm_bytes_per_second: rate of that memory.
      link_bytes_per_second: one way, of one link to a neighbour.
      torus_axes: dimensions of the torus that a slice is a part of; two links each.
      dcn_bytes_per_second: one way, share of the host's network between slices.
      chip_config: how libtpu joins the cores of a chip; None for its default.
    """

    generation: str
    device_kind: str
    devices_per_chip: int = 1
    hbm_bytes: float
    hbm_bytes_per_second: float
    link_bytes_per_second: float
    torus_axes: int
    dcn_bytes_per_second: float
    chip_config: str | None = None

    @property
    def flops_per_second(self) -> float:
        """Peak of dense bfloat16 products; a token 1e11 for a CPU, whose plans are trials."""
        return peak_flops_per_second(self.device_kind) or 1e11


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        chip.generation: chip
        for chip in (
            Chip(
                generation="v4",
                device_kind="TPU v4",
                hbm_bytes=30.75 * GIB,
                hbm_bytes_per_second=1.2e12,
                link_bytes_per_second=45e9,
                torus_axes=3,
                dcn_bytes_per_second=3.1e9,
                # One JAX device a chip, as on a Cloud TPU VM; libtpu's default is one a core.
                chip_config="megacore",
            ),
            Chip(
                generation="v5e",
                device_kind="TPU v5 lite",
                hbm_bytes=15.75 * GIB,
                hbm_bytes_per_second=8.1e11,
                link_bytes_per_second=45e9,
                torus_axes=2,
                dcn_bytes_per_second=3.1e9,
            ),
            Chip(
                generation="v5p",
                device_kind="TPU v5",
                hbm_bytes=95.74 * GIB,
                hbm_bytes_per_second=2.8e12,
                link_bytes_per_second=90e9,
                torus_axes=3,
                dcn_bytes_per_second=6.2e9,
            ),
            Chip(
                generation="v6e",
                device_kind="TPU v6 lite",
                hbm_bytes=31.25 * GIB,
                hbm_bytes_per_second=1.6e12,
                link_bytes_per_second=90e9,
                torus_axes=2,
                dcn_bytes_per_second=12.5e9,
            ),
            Chip(
                generation="tpu7x",
                device_kind="TPU7x",
                devices_per_chip=2,
                hbm_bytes=94.75 * GIB,
                hbm_bytes_per_second=3.7e12,
                link_bytes_per_second=45e9,
                torus_axes=3,
                dcn_bytes_per_second=6.2e9,
            ),
            Chip(
                generation="cpu",
                device_kind="cpu",
                hbm_bytes=4 * GIB,
                hbm_bytes_per_second=2e10,
                link_bytes_per_second=5e9,
                torus_axes=1,
                dcn_bytes_per_second=1e9,
            ),
        )
    }
)
"""Generation -> its chip. The row `cpu` is for trials; its rates are no measurement."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """The devices of one or several slices of the same shape.

    Attributes:
      name: as given, e.g. `v5p:4x4x4`.
      num_slices: slices, joined by the data-centre network.
      chip: what each device has.
      devices: all devices, those of the first slice first.
    """

    name: str
    num_slices: int
    chip: Chip
    devices: tuple[Any, ...]

    @property
    def num_chips(self) -> int:
        """Chips of all slices."""
        return len(self.devices) // self.chip.devices_per_chip


def describe_slice(topology: str, num_slices: int = 1) -> Slice:
    """Returns the devices of a topology.

    Args:
      topology: `GENERATION:AxB` or `GENERATION:AxBxC` in chips, as Cloud TPU names them: `v5e:4x4`,
        `v5p:4x4x4`; or `cpu:N` for N devices of this process.
      num_slices: copies of it.

    Raises:
      ConfigError: an unknown generation, a shape that it does not have, or libtpu is missing.
    """
    generation, _, shape = topology.partition(":")
    sizes = shape.split("x")
    if generation not in CHIPS or not all(size.isdigit() and int(size) for size in sizes):
        raise ConfigError(
            f"topology={topology!r}; expected GENERATION:SHAPE with a generation of "
            f"{', '.join(CHIPS)}, e.g. v5e:4x4, v5p:2x2x4 or cpu:8"
        )
    if num_slices < 1:
        raise ConfigError(f"num_slices={num_slices}; expected at least 1")
    chip = CHIPS[generation]
    if generation == "cpu":
        devices = _cpu_devices(int(sizes[0]), num_slices)
    else:
        if len(sizes) == 2 and chip.torus_axes == 3:
            raise ConfigError(
                f"topology={topology!r}; expected three sizes, e.g. {generation}:2x2x1"
            )
        devices = _tpu_devices(topology, [int(size) for size in sizes], num_slices, chip)
    return Slice(name=topology, num_slices=num_slices, chip=chip, devices=devices)


def _cpu_devices(count: int, num_slices: int) -> tuple[Any, ...]:
    if num_slices != 1:
        raise ConfigError(f"num_slices={num_slices} of cpu:{count}; expected 1")
    devices = jax.devices("cpu")
    if count > len(devices):
        raise ConfigError(
            f"topology='cpu:{count}'; this process has {len(devices)} (XLA_FLAGS="
            f"--xla_force_host_platform_device_count={count} gives more)"
        )
    return tuple(devices[:count])


def _tpu_devices(topology: str, sizes: list[int], num_slices: int, chip: Chip) -> tuple[Any, ...]:
    options: dict[str, Any] = {}
    if chip.chip_config:
        options["chip_config_name"] = chip.chip_config
    if num_slices > 1:
        options["num_slices"] = num_slices
    if math.prod(sizes) < 4:
        # libtpu cuts a slice into hosts of four chips unless it is told otherwise.
        options["chips_per_host_bounds"] = (*sizes, 1, 1)[:3]
    _describe_no_machine()
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    except (RuntimeError, ValueError, NotImplementedError, ImportError) as error:
        first = str(error).splitlines()[0]
        hint = "" if _has_libtpu() else "; libtpu is missing: pip install 'xlingual[tpu]'"
        raise ConfigError(f"topology={topology!r}: {first}{hint}") from error
    return tuple(described.devices)


def _describe_no_machine() -> None:
    """Keeps libtpu from asking a metadata server what machine this is, and from locking it."""
    for name, value in {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5p-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
    }.items():
        os.environ.setdefault(name, value)


def _has_libtpu() -> bool:
    try:
        import libtpu  # noqa: F401
    except ImportError:
        return False
    return True
