"""The fastest plan of a job for a slice: many are ranked by arithmetic, the best are compiled."""

import dataclasses
import textwrap
from collections.abc import Callable, Sequence

import jax

from xlingual.compilation.job import Job
from xlingual.compilation.plans import Guess, Plan, guess, make_plans
from xlingual.compilation.report import StepReport, compile_step
from xlingual.compilation.topologies import Slice
from xlingual.errors import ConfigError
from xlingual.models.config import REMAT_POLICIES
from xlingual.partitioning.rules import data_parallel

SLACK = 1.3
"""Plans that need more than this many times the memory, by arithmetic, are never compiled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A plan that was compiled.

    Attributes:
      plan: how the job was spread.
      guess: what arithmetic said.
      report: what the compiler said of the train step.
    """

    plan: Plan
    guess: Guess
    report: StepReport


def rank_plans(
    job: Job, where: Slice, remats: Sequence[str] = REMAT_POLICIES
) -> list[tuple[Guess, Plan]]:
    """Returns the plans that may fit, by arithmetic: fastest first, then those in doubt.

    Args:
      job: on the devices of `where`.
      where: the slice.
      remats: policies to try.

    Raises:
      ConfigError: the model has no `TransformerConfig`.
    """
    if not hasattr(job.model, "config"):
        raise ConfigError(f"a {job.model.family} model has no plans; expected one with a config")
    whole = dataclasses.replace(job.partitioner, rules=data_parallel(), data=-1, fsdp=1, tensor=1)
    job = dataclasses.replace(job, partitioner=whole)
    state = float(
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(job.layout.shapes))
    )
    ranked = [(guess(job, where, plan, state), plan) for plan in make_plans(job, where, remats)]
    limit = SLACK * where.chip.hbm_bytes
    fitting = [pair for pair in ranked if pair[0].bytes_per_device <= limit]

    def order(pair: tuple[Guess, Plan]) -> tuple[bool, float, float]:
        found = pair[0]
        doubtful = found.bytes_per_device > where.chip.hbm_bytes
        return doubtful, found.seconds, found.bytes_per_device

    return sorted(fitting, key=order)


def autotune(
    job: Job,
    where: Slice,
    *,
    max_compiles: int = 4,
    remats: Sequence[str] = REMAT_POLICIES,
    first_that_fits: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Trial]:
    """Returns the plans that were compiled, those that fit first, fastest first.

    Plans are compiled in the order of arithmetic. One that does not fit rules out those that need
    at least as much by arithmetic; the search ends after `max_compiles`.

    Args:
      job: on the devices of `where`.
      where: the slice.
      max_compiles: programs to compile at most.
      remats: policies to try.
      first_that_fits: ends the search with the first plan that fits: the fastest by arithmetic.
      say: is told of every trial.

    Raises:
      ConfigError: no plan may fit: the smallest need is named.
    """
    if max_compiles < 1:
        raise ConfigError(f"max_compiles={max_compiles}; expected at least 1")
    ranked = rank_plans(job, where, remats)
    if not ranked:
        raise ConfigError(
            f"no plan fits {where.name}: {job.num_parameters:,} parameters with this batch need "
            f"more than {where.chip.hbm_bytes / 2**30:.1f} GiB of each device, however they are cut"
        )
    trials: list[Trial] = []
    too_much = float("inf")
    for found, plan in ranked:
        if len(trials) == max_compiles:
            break
        if found.bytes_per_device >= too_much:
            continue
        report, _ = compile_step(plan.apply(job), where, "train", fast=True)
        trials.append(Trial(plan=plan, guess=found, report=report))
        say(_describe(trials[-1]))
        if not report.fits:
            too_much = found.bytes_per_device
        elif first_that_fits:
            break
    return sorted(trials, key=_order)


def plan_gin(plan: Plan, where: Slice) -> str:
    """Returns a gin file that makes a run follow a plan; it goes after the run's own file.

    Args:
      plan: how a job is spread.
      where: for which slice.
    """
    slices = f"{where.num_slices} slices of {where.name}" if where.num_slices > 1 else where.name
    return textwrap.dedent(
        f"""\
        # A plan for {slices}, found by `xlingual compile --autotune`. Use it after the file of the
        # run: --gin_file=RUN.gin --gin_file=THIS.gin
        #
        # Gives: the mesh, NUM_MICROBATCHES and REMAT. Nothing must be set.
        from __gin__ import dynamic_registration
        from xlingual.partitioning import partitioner
        from xlingual.partitioning import rules

        partitioner.Partitioner.rules = @rules.{plan.table}()
        MESH_DATA = {plan.data}
        MESH_FSDP = {plan.fsdp}
        MESH_TENSOR = {plan.tensor}
        NUM_MICROBATCHES = {plan.num_microbatches}
        REMAT = '{plan.remat}'
        """
    )


def _order(trial: Trial) -> tuple[bool, float]:
    line = trial.report.roofline
    return not trial.report.fits, float("inf") if line is None else line.seconds


def _describe(trial: Trial) -> str:
    plan, report = trial.plan, trial.report
    took = "" if report.roofline is None else f", {report.roofline.seconds:.3f} s a step"
    need = f"{report.memory.peak / 2**30:.2f} GiB"
    verdict = f"fits in {need}{took}" if report.fits else f"does not fit (needs {need})"
    return (
        f"data {plan.data} x fsdp {plan.fsdp} x tensor {plan.tensor}, {plan.num_microbatches} "
        f"microbatches, remat {plan.remat}: {verdict}; arithmetic said "
        f"{trial.guess.bytes_per_device / 2**30:.2f} GiB, {trial.guess.seconds:.3f} s"
    )
