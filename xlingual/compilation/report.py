"""Compiles the programs of a job for a slice and says what they need, cost and take."""

import dataclasses
import re
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from xlingual.compilation.costs import Costs, compute_costs
from xlingual.compilation.hlo import parse_program
from xlingual.compilation.job import Job
from xlingual.compilation.roofline import ASSUMPTIONS, Roofline, estimate
from xlingual.compilation.topologies import GIB, Slice

FAST_OPTIONS: Any = {"exec_time_optimization_effort": -1.0}
"""What makes the compiler try less: a third of the time, for a program that may run slower."""

_EXHAUSTED = "RESOURCE_EXHAUSTED"
_NEEDED = re.compile(
    r"[Uu]sed ([\d.]+)([KMGT]) of|temporaries \(([\d.]+)([KMGT])\)|requires? ([\d.]+)([KMGT])"
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one JAX device.

    Attributes:
      arguments: state and batch.
      temporaries: all else that lives during the step.
      outputs: results that do not take the place of arguments.
      code: the program.
      host: temporaries in the host's memory (offloaded activations).
    """

    arguments: int = 0
    temporaries: int = 0
    outputs: int = 0
    code: int = 0
    host: int = 0

    @property
    def peak(self) -> int:
        """What must fit into the device's memory."""
        return self.arguments + self.temporaries + self.outputs + self.code


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepReport:
    """One compiled program.

    Attributes:
      step: `train`, `eval` or `decode`.
      fits: whether the compiler found room for it.
      memory: of one device; where it does not fit, `temporaries` is what the compiler asked for.
      error: what the compiler said where it does not fit.
      lower_seconds: wall time of tracing and lowering.
      compile_seconds: wall time of compiling.
      compile_cpu_seconds: processor time of compiling, all threads.
      costs: of one device; None where there is no program.
      xla_flops: as XLA's own analysis counts: of one device, every loop body once.
      roofline: None where there is no program.
    """

    step: str
    fits: bool
    memory: Memory
    error: str = ""
    lower_seconds: float
    compile_seconds: float
    compile_cpu_seconds: float
    costs: Costs | None = None
    xla_flops: float | None = None
    roofline: Roofline | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The programs of a job on a slice.

    Attributes:
      job: what was compiled.
      where: for which devices.
      steps: one report a program.
    """

    job: Job
    where: Slice
    steps: Sequence[StepReport]

    @property
    def fits(self) -> bool:
        """Whether all programs do."""
        return all(step.fits for step in self.steps)


def compile_step(
    job: Job, where: Slice, step: str, *, fast: bool = False
) -> tuple[StepReport, Any]:
    """Returns the report of a program, and the program; None in its place where it does not fit.

    Args:
      job: on the devices of `where` (`Job.on`).
      where: the slice.
      step: of `job.STEPS`.
      fast: compiles with `FAST_OPTIONS`: for searches and tables.

    Raises:
      jax.errors.JaxRuntimeError: the compiler fails for another reason than memory.
    """
    begun = time.monotonic()
    lowered = job.lower(step)
    lowered_at, cpu = time.monotonic(), _cpu_seconds()
    try:
        compiled = lowered.compile(compiler_options=FAST_OPTIONS if fast else None)
    except jax.errors.JaxRuntimeError as error:
        if _EXHAUSTED not in str(error):
            raise
        compiled, message = None, str(error)
    report = StepReport(
        step=step,
        fits=False,
        memory=Memory(),
        lower_seconds=lowered_at - begun,
        compile_seconds=time.monotonic() - lowered_at,
        compile_cpu_seconds=_cpu_seconds() - cpu,
    )
    if compiled is None:
        asked = Memory(temporaries=_asked_bytes(message))
        return dataclasses.replace(report, memory=asked, error=message), None
    memory = _memory(compiled)
    costs = compute_costs(
        parse_program(compiled.as_text() or ""),
        num_devices=len(where.devices),
        num_slices=where.num_slices,
    )
    report = dataclasses.replace(
        report,
        fits=memory.peak <= where.chip.hbm_bytes,
        memory=memory,
        costs=costs,
        xla_flops=_xla_flops(compiled),
        roofline=estimate(costs, where, job.formula_flops if step == "train" else 0.0),
    )
    return report, compiled


def as_json(report: Report) -> dict[str, Any]:
    """Returns the report as JSON types; bytes, FLOPs of `steps` and rates are those of a device.

    Args:
      report: of a job.
    """
    job, where = report.job, report.where
    batch = job.spec["decoder_input_tokens"].shape
    return {
        "topology": where.name,
        "num_slices": where.num_slices,
        "chips": where.num_chips,
        "devices": len(where.devices),
        "device_kind": where.chip.device_kind,
        "mesh": {axis: int(size) for axis, size in job.partitioner.mesh.shape.items()},
        "num_microbatches": job.num_microbatches,
        "remat": getattr(getattr(job.model, "config", None), "remat", None),
        "family": job.model.family,
        "parameters": int(job.num_parameters),
        "batch_rows": int(batch[0]),
        "lengths": {
            name.removesuffix("_input_tokens"): int(leaf.shape[1])
            for name, leaf in job.spec.items()
            if name.endswith("_input_tokens")
        },
        "hbm_bytes": int(where.chip.hbm_bytes),
        "formula_flops_per_step": job.formula_flops,
        "fits": report.fits,
        "assumptions": list(ASSUMPTIONS),
        "jax": jax.__version__,
        "steps": {step.step: _step_json(step) for step in report.steps},
    }


def _step_json(step: StepReport) -> dict[str, Any]:
    found: dict[str, Any] = {
        "fits": step.fits,
        "argument_bytes": step.memory.arguments,
        "temporary_bytes": step.memory.temporaries,
        "output_bytes": step.memory.outputs,
        "code_bytes": step.memory.code,
        "host_bytes": step.memory.host,
        "peak_bytes": step.memory.peak,
        "lower_seconds": round(step.lower_seconds, 2),
        "compile_seconds": round(step.compile_seconds, 2),
        "compile_cpu_seconds": round(step.compile_cpu_seconds, 2),
    }
    if step.costs is None or step.roofline is None:
        return found | {"error": step.error[:2000]}
    line = step.roofline
    return found | {
        "flops": step.costs.flops,
        "xla_flops_loops_once": step.xla_flops,
        "hbm_traffic_bytes": step.costs.hbm_bytes,
        "collectives": step.costs.by_kind(),
        "unknown_loops": list(step.costs.unknown_loops),
        "seconds": line.seconds,
        "bound_seconds": line.bound_seconds,
        "compute_seconds": line.compute_seconds,
        "hbm_seconds": line.hbm_seconds,
        "ici_seconds": line.ici_seconds,
        "dcn_seconds": line.dcn_seconds,
        "mfu": line.mfu,
    }


def _memory(compiled: Any) -> Memory:
    stats = compiled.memory_analysis()
    return Memory(
        arguments=stats.argument_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        outputs=max(0, stats.output_size_in_bytes - stats.alias_size_in_bytes),
        code=stats.generated_code_size_in_bytes,
        host=stats.host_temp_size_in_bytes,
    )


def _xla_flops(compiled: Any) -> float | None:
    analysis: Mapping[str, float] | None = compiled.cost_analysis()
    return None if analysis is None else analysis.get("flops")


def _asked_bytes(message: str) -> int:
    """Returns the bytes that the compiler says it needed; 0 where it does not say."""
    found = _NEEDED.search(message)
    if found is None:
        return 0
    number, unit = [part for part in found.groups() if part]
    return int(float(number) * _UNITS[unit])


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def gib(num_bytes: float) -> str:
    """Returns bytes as GiB with two digits.

    >>> gib(3 * 2**29)
    '1.50 GiB'
    """
    return f"{num_bytes / GIB:.2f} GiB"
