"""Real programs for TPU slices, compiled where no TPU is."""

import jax
import pytest

from tests.compilation.small_job import make_job
from xlingual.compilation.report import compile_step
from xlingual.compilation.topologies import describe_slice

pytest.importorskip("libtpu", reason="libtpu has the compiler of TPUs")


@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"])
def test_a_model_compiles_for_every_generation(topology):
    """The evaluation step: a third of a train step's products, exactly."""
    where = describe_slice(topology)
    job = make_job(fsdp=len(where.devices), data=1).on(where)
    report, _ = compile_step(job, where, "eval", fast=True)
    assert report.fits and report.error == ""
    assert report.costs.flops * len(where.devices) == job.formula_flops / 3
    state = sum(4 * leaf.size for leaf in jax.tree.leaves(job.layout.shapes.params))
    assert state / len(where.devices) <= report.memory.arguments < state
    assert 0 < report.roofline.bound_seconds <= report.roofline.seconds < 1


def test_only_the_reduction_of_gradients_crosses_slices():
    """Two slices: parameters are cut inside of each, `data` is between them."""
    where = describe_slice("v5e:2x2", num_slices=2)
    job = make_job(data=2, fsdp=4, wide=8).on(where)
    report, _ = compile_step(job, where, "train", fast=True)
    crossing = [one for one in report.costs.collectives if one.crosses_slices]
    assert {one.kind for one in crossing} == {"all-reduce"}
    # A device sends the fourth of the gradients that it keeps, 4 bytes each; norms, metrics and the
    # padding of small arrays on top.
    part = sum(leaf.size for leaf in jax.tree.leaves(job.layout.shapes.params))
    sent = sum(one.runs * one.num_bytes for one in crossing)
    assert 0.9 * part < sent < 1.5 * part
    assert report.costs.flops * 8 == job.formula_flops
    assert report.roofline.dcn_seconds > 0


def test_a_program_that_does_not_fit_says_how_much_it_needs():
    where = describe_slice("v5e:2x2")
    report, compiled = compile_step(make_job(rows=2**22, fsdp=4, data=1).on(where), where, "eval")
    assert compiled is None and not report.fits
    assert report.memory.peak > where.chip.hbm_bytes
    assert "RESOURCE_EXHAUSTED" in report.error
