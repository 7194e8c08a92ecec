"""Model flops utilisation: useful arithmetic done, over what the devices could have done.

References:
  Chowdhery et al. (2022), "PaLM: Scaling Language Modeling with Pathways", arXiv:2204.02311,
  section 4.1 and appendix B. Peaks are the makers' figures for dense bfloat16, per JAX device:
  cloud.google.com/tpu/docs (v4, v5e, v5p, v6e, TPU7x), NVIDIA data sheets.
"""

import functools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

PEAK_FLOPS_PER_SECOND = {
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    # One chip is two JAX devices (as for v2 and v3): half of the chip's 2307e12.
    "TPU7x": 1153.5e12,
    "TPU v7x": 1153.5e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
}
"""Device kind, or the words it begins with -> peak dense bfloat16 flops a second."""


def peak_flops_per_second(device_kind: str) -> float | None:
    """Returns the peak of one device; None for a device that is not in the table.

    The longest entry wins whose words begin the name, in any case:

    >>> peak_flops_per_second("NVIDIA H100 80GB HBM3") == 989e12
    True
    >>> peak_flops_per_second("cpu") is None
    True

    Args:
      device_kind: as `jax.Device.device_kind` says, e.g. `TPU v5 lite`, `NVIDIA A100-SXM4-40GB`.
    """
    words = _words(device_kind)
    matches = [name for name in PEAK_FLOPS_PER_SECOND if words[: len(_words(name))] == _words(name)]
    return PEAK_FLOPS_PER_SECOND[max(matches, key=len)] if matches else None


def _words(name: str) -> list[str]:
    return name.lower().replace("-", " ").split()


def flops_utilization(flops: float, seconds: float, devices: Sequence[jax.Device]) -> float | None:
    """Returns the share of the devices' peak that went into useful arithmetic.

    Args:
      flops: useful floating-point operations, forward and backward, recomputation not counted.
      seconds: time they took.
      devices: all devices that took part.

    Returns:
      A number in [0, 1]; None where a device has no entry in the table or no time has passed.
    """
    peaks = [peak_flops_per_second(device.device_kind) for device in devices]
    known = [peak for peak in peaks if peak is not None]
    if len(known) < len(peaks) or not known or seconds <= 0:
        return None
    return flops / (seconds * sum(known))


def measured_product_flops(
    device: jax.Device, dtype: str = "float32", *, size: int = 2048, repeats: int = 5
) -> float:
    """Returns operations per second of the fastest of several [size, size] products, timed now.

    Args:
      device: where.
      dtype: of the factors; products are summed in float32.
      size: rows and columns.
      repeats: products that are timed.
    """
    matrix = jax.device_put(jnp.ones((size, size), dtype), device)
    multiply = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
    jax.block_until_ready(multiply(matrix, matrix))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(multiply(matrix, matrix))
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
