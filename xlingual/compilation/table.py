"""The report of a compiled job for people."""

from collections.abc import Mapping

import rich.console
import rich.table
import rich.text

from xlingual.compilation.report import Report, StepReport, as_json, gib
from xlingual.compilation.roofline import ASSUMPTIONS


def make_report_table(report: Report) -> rich.console.Group:
    """Returns a table with a column a program, and what the estimates assume.

    Args:
      report: of a job.
    """
    job, where = report.job, report.where
    facts = as_json(report)
    mesh = " x ".join(f"{axis} {size}" for axis, size in facts["mesh"].items())
    slices = f"{where.num_slices} x " if where.num_slices > 1 else ""
    table = rich.table.Table(
        title=f"{job.model.family}, {job.num_parameters:,} parameters, {slices}{where.name} "
        f"({where.num_chips} chips, {mesh})"
    )
    table.add_column("per JAX device")
    for step in report.steps:
        table.add_column(step.step, justify="right")
    columns = [_column(step, where.chip.hbm_bytes) for step in report.steps]
    for name in columns[0] if columns else ():
        table.add_row(name, *[column.get(name, "") for column in columns])
    table.add_section()
    kinds = sorted({kind for step in report.steps if step.costs for kind in step.costs.by_kind()})
    for kind in kinds:
        table.add_row(kind, *[_collective(step, kind) for step in report.steps])
    notes = [
        f"one step: {job.formula_flops:.4g} FLOPs by formula, all devices; "
        f"{facts['batch_rows']} rows, {job.num_microbatches} microbatches, remat {facts['remat']}",
        *(f"assumed: {line}" for line in ASSUMPTIONS),
        *(f"{step.step} does not fit: {step.error[:400]}" for step in report.steps if step.error),
        *(
            f"{step.step}: loops of unknown length, counted once: {len(step.costs.unknown_loops)}"
            for step in report.steps
            if step.costs and step.costs.unknown_loops
        ),
    ]
    return rich.console.Group(table, *[rich.text.Text(note) for note in notes])


def _column(step: StepReport, hbm_bytes: float) -> Mapping[str, str]:
    memory = step.memory
    column = {
        "arguments": gib(memory.arguments),
        "temporaries": gib(memory.temporaries),
        "peak": gib(memory.peak),
        "memory of the device": gib(hbm_bytes),
        "fits": "yes" if step.fits else "NO",
        "on the host": gib(memory.host),
        "compile seconds": f"{step.compile_seconds:.1f}",
        "of the processor": f"{step.compile_cpu_seconds:.1f}",
    }
    if step.costs is None or step.roofline is None:
        return column
    line = step.roofline
    return column | {
        "FLOPs, loops multiplied": f"{step.costs.flops:.4g}",
        "FLOPs, XLA (loops once)": "" if step.xla_flops is None else f"{step.xla_flops:.4g}",
        "traffic to memory": gib(step.costs.hbm_bytes),
        "seconds, no overlap": f"{line.seconds:.4g}",
        "seconds, full overlap": f"{line.bound_seconds:.4g}",
        "of them arithmetic": f"{line.compute_seconds:.4g}",
        "memory": f"{line.hbm_seconds:.4g}",
        "links": f"{line.ici_seconds:.4g}",
        "between slices": f"{line.dcn_seconds:.4g}",
        "MFU": f"{line.mfu:.1%}" if step.step == "train" else "",
    }


def _collective(step: StepReport, kind: str) -> str:
    found = step.costs.by_kind().get(kind) if step.costs else None
    return "" if found is None else f"{found['count']:,.0f} x, {gib(found['bytes'])}"
