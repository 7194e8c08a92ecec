import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_batch, make_model
from xlingual.reporting.metrics import Sums
from xlingual.training.step import compute_sums
from xlingual.training.throughput import Throughput, useful_tokens


class _Device:
    device_kind = "TPU v4"


def _sums(encoder, decoder, encoder_pairs, decoder_pairs):
    return Sums(
        losses={},
        tasks={},
        examples=np.zeros(1),
        targets=np.zeros(1),
        tokens={"encoder": np.int32(encoder), "decoder": np.int32(decoder)},
        pairs={"encoder": np.float32(encoder_pairs), "decoder": np.float32(decoder_pairs)},
    )


def test_useful_work_of_full_rows_is_nominal_work():
    source, model = FakeSource(), make_model()
    rows, encoder, decoder = source.batch_size, source.inputs_length, source.targets_length
    throughput = Throughput(model, source.spec, [_Device()])
    sums = _sums(rows * encoder, rows * decoder, rows * encoder**2, rows * decoder**2)
    throughput.add(sums, 1e-6)
    numbers = throughput.take()
    assert numbers["mfu"] == pytest.approx(numbers["nominal_mfu"])
    assert numbers["encoder_fill"] == numbers["decoder_fill"] == 1.0
    assert throughput.take() == {}


def test_padding_and_packing_lower_useful_work_only():
    source, model = FakeSource(), make_model()
    sums = jax.device_get(compute_sums({}, make_batch(source, 0), 3))
    throughput = Throughput(model, source.spec, [_Device(), _Device()])
    for _ in range(3):
        throughput.add(sums, 2e-6)
    numbers = throughput.take()
    assert 0 < numbers["mfu"] < numbers["nominal_mfu"]
    flops = model.train_flops(useful_tokens(sums)).total
    assert numbers["mfu"] == pytest.approx(flops / (2e-6 * 2 * 275e12))
    assert numbers["useful_flops_per_second"] == pytest.approx(flops / 2e-6)
    for stack in ("encoder", "decoder"):
        real = make_batch(source, 0)[f"{stack}_segment_ids"] > 0
        assert numbers[f"{stack}_fill"] == pytest.approx(real.mean())


def test_every_step_counts_with_the_rows_of_its_own_batch():
    source, model = FakeSource(), make_model()
    half = {
        name: jax.ShapeDtypeStruct((leaf.shape[0] // 2, leaf.shape[1]), leaf.dtype)
        for name, leaf in source.spec.items()
    }
    rows, encoder, decoder = source.batch_size // 2, source.inputs_length, source.targets_length
    throughput = Throughput(model, source.spec, [_Device()])
    for _ in range(2):
        sums = _sums(rows * encoder, rows * decoder, rows * encoder**2, rows * decoder**2)
        throughput.add(sums, 1e-6, half)
    numbers = throughput.take()
    assert numbers["encoder_fill"] == numbers["decoder_fill"] == 1.0
    assert numbers["mfu"] == pytest.approx(numbers["nominal_mfu"])
    throughput.add(sums, 1e-6)
    assert throughput.take()["encoder_fill"] == 0.5


def test_an_unknown_device_gives_no_mfu():
    throughput = Throughput(FakeModel(), FakeSource().spec, jax.devices())
    throughput.add(_sums(1, 1, 1, 1), 1.0)
    assert throughput.take().keys().isdisjoint({"mfu", "nominal_mfu"})
