"""Reports and plans, on the eight fake devices: no libtpu needed."""

import json

import jax
import pytest
import rich.console

from tests.compilation.small_job import make_job
from xlingual import config
from xlingual.cli.gin_job import make_job as read_gin_job
from xlingual.compilation import autotune as tuning
from xlingual.compilation.plans import Plan, make_plans
from xlingual.compilation.report import Memory, Report, as_json, compile_step
from xlingual.compilation.table import make_report_table
from xlingual.compilation.topologies import describe_slice
from xlingual.errors import ConfigError


@pytest.fixture(scope="module")
def where():
    return describe_slice("cpu:8")


@pytest.fixture(scope="module")
def report(where):
    """All three programs of a small encoder-decoder."""
    job = make_job("encoder_decoder", table="fsdp", data=2, fsdp=4).on(where)
    job.check()
    jax.config.update("jax_disable_most_optimizations", True)
    steps = [compile_step(job, where, step)[0] for step in ("train", "eval", "decode")]
    jax.config.update("jax_disable_most_optimizations", False)
    return Report(job=job, where=where, steps=steps)


def test_flops_of_the_programs_are_those_of_the_formula(report):
    """Eight devices together do exactly what the formula says; evaluation a third of it."""
    train, evaluation, _ = report.steps
    assert 8 * train.costs.flops == report.job.formula_flops
    assert 8 * evaluation.costs.flops == report.job.formula_flops / 3


def test_arguments_are_the_parts_of_the_state_that_a_device_holds(report):
    shapes = report.job.layout.shapes
    held = sum(
        leaf.dtype.itemsize * jax.numpy.prod(jax.numpy.array(leaf.sharding.shard_shape(leaf.shape)))
        for leaf in jax.tree.leaves(shapes)
    )
    batch = sum(4 * leaf.size for leaf in report.job.spec.values()) // 8
    train = report.steps[0].memory
    assert held <= train.arguments <= held + batch + 4096
    assert train.peak == train.arguments + train.temporaries + train.outputs + train.code


def test_the_report_is_json_and_a_table(report):
    facts = json.loads(json.dumps(as_json(report)))
    assert facts["parameters"] == report.job.num_parameters
    assert facts["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    assert facts["fits"] and set(facts["steps"]) == {"train", "eval", "decode"}
    train = facts["steps"]["train"]
    assert train["collectives"]["all-gather"]["bytes"] > 0
    assert train["seconds"] >= train["bound_seconds"] > 0 and 0 < train["mfu"] < 1
    assert facts["steps"]["decode"]["unknown_loops"], "decoding ends when all rows have ended"
    console = rich.console.Console(width=200, record=True, quiet=True)
    console.print(make_report_table(report))
    text = console.export_text()
    for part in ("all-gather", "temporaries", "assumed:", "compile seconds", "MFU", "cpu:8"):
        assert part in text


def test_plans_divide_what_they_cut(where):
    job = make_job(data=8).on(where)
    plans = list(make_plans(job, where))
    assert len(set(plans)) == len(plans) > 50
    for plan in plans:
        assert plan.data * plan.fsdp * plan.tensor == 8
        assert 4 % plan.tensor == 0, "heads"
        assert 16 % (plan.data * plan.fsdp * plan.num_microbatches) == 0, "rows"
    assert {plan.table for plan in plans} == {"data_parallel", "fsdp", "fsdp_tensor"}


def fake_compiler(needs):
    """`compile_step` that says a plan needs what `needs(job)` bytes are."""

    def compile_fake(job, where, step, *, fast=False):
        report = FAKE_REPORTS[step]
        peak = needs(job)
        seconds = 1.0 if peak <= where.chip.hbm_bytes else 0.0
        del seconds
        return (
            tuning.dataclasses.replace(
                report, fits=peak <= where.chip.hbm_bytes, memory=Memory(temporaries=peak)
            ),
            None,
        )

    return compile_fake


FAKE_REPORTS: dict = {}


def test_the_search_passes_over_plans_that_do_not_fit(where, report, monkeypatch):
    """Only plans with four microbatches or more fit: the search ends at one of them."""
    FAKE_REPORTS["train"] = report.steps[0]
    hbm = where.chip.hbm_bytes
    monkeypatch.setattr(
        tuning,
        "compile_step",
        fake_compiler(lambda job: int(hbm * (0.5 if job.num_microbatches > 1 else 2))),
    )
    said = []
    job = make_job(rows=64, data=8).on(where)
    trials = tuning.autotune(job, where, max_compiles=40, first_that_fits=True, say=said.append)
    assert trials[0].report.fits and trials[0].plan.num_microbatches > 1
    assert len(said) == len(trials) and "does not fit" in said[0]


def test_no_plan_is_said_so(where):
    with pytest.raises(ConfigError, match="no plan fits cpu:8"):
        tuning.autotune(make_job(rows=2**19, wide=64, data=8).on(where), where)
    with pytest.raises(ConfigError, match="max_compiles=0"):
        tuning.autotune(make_job(data=8).on(where), where, max_compiles=0)


def test_a_plan_as_gin_makes_the_same_job(where, tmp_path):
    """The file that the search writes is read after the run's own."""
    plan = Plan(table="fsdp_tensor", data=2, fsdp=2, tensor=2, num_microbatches=2, remat="offload")
    path = tmp_path / "plan.gin"
    path.write_text(tuning.plan_gin(plan, where))
    config.parse(["gin/experiments/toy.gin", str(path)], [], complete=False)
    job = read_gin_job().on(where)
    assert plan.apply(job) == job
    assert dict(job.partitioner.mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert job.model.config.remat == "offload"
