import types

import jax
import pytest

from xlingual.reporting import utilization
from xlingual.reporting.utilization import flops_utilization, peak_flops_per_second


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5e", 197e12),
        ("TPU v5", 459e12),
        ("TPU v5p", 459e12),
        ("TPU v6 lite", 918e12),
        ("TPU v6e", 918e12),
        ("TPU7x", 1153.5e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100-PCIE-40GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("cpu", None),
        ("TPU v9", None),
        ("NVIDIA A10", None),
    ],
)
def test_peaks_by_the_name_that_jax_reports(kind, peak):
    assert peak_flops_per_second(kind) == peak


def test_utilization_is_work_over_peak_of_all_devices():
    devices = [types.SimpleNamespace(device_kind="TPU v4")] * 4
    assert flops_utilization(550e12, 1.0, devices) == pytest.approx(0.5)
    assert flops_utilization(550e12, 2.0, devices) == pytest.approx(0.25)
    assert flops_utilization(1.0, 0.0, devices) is None
    assert flops_utilization(1.0, 1.0, []) is None
    assert flops_utilization(1.0, 1.0, jax.devices()) is None
    mixed = [*devices, types.SimpleNamespace(device_kind="abacus")]
    assert flops_utilization(1.0, 1.0, mixed) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_are_timed(dtype, monkeypatch):
    moments = iter([0.0, 4.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(
        utilization, "time", types.SimpleNamespace(perf_counter=lambda: next(moments))
    )
    found = utilization.measured_product_flops(jax.devices()[0], dtype, size=64, repeats=3)
    assert found == 2 * 64**3
