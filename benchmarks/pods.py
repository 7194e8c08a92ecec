"""The table of docs/pods.md: real programs for TPU slices, compiled on a machine without one.

    python benchmarks/pods.py                    # measure what is missing, then write the table
    python benchmarks/pods.py --kinds xxl,weak   # some kinds only
    python benchmarks/pods.py --table            # write the table from the rows that are there

Rows go to `docs/pods.jsonl` as they come, so that a run that was stopped goes on where it was. One
program is compiled at a time; wall and processor seconds are recorded.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS = ROOT / "docs" / "pods.jsonl"
PAGE = ROOT / "docs" / "pods.md"
BEGIN, END = "<!-- rows: begin -->", "<!-- rows: end -->"

TORUS = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")
PLANE = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
SLICES: Mapping[str, tuple[str, ...]] = {
    "v4": TORUS,
    "v5e": PLANE,
    "v5p": TORUS,
    "v6e": PLANE,
    "tpu7x": TORUS,
}
"""Generation -> shapes of 4 to 256 chips."""

WEAK = {16: "2x2x4", 64: "4x4x4", 256: "4x8x8", 1024: "8x8x16"}
SIZES = ("tiny", "small", "base", "large", "xl", "xxl")
FAMILIES = ("encoder_decoder", "decoder_only")
KINDS = ("xxl", "weak", "layers", "sizes")
VOCAB_SIZE = 250_112
ROWS_OF_1M = 1024


def main() -> int:
    """Measures missing rows in processes of their own; writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS), help="rows to measure, by comma")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--only", help="a part of the name of the rows to measure")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(json.loads(args.one))
        return 0
    if not args.table:
        for task in tasks(args.kinds.split(",")):
            if task["name"] in {row["name"] for row in read_rows()}:
                continue
            if args.only and args.only not in task["name"]:
                continue
            print(task["name"], flush=True)
            # A process of its own: its peak memory is that of one program.
            command = [sys.executable, __file__, "--one", json.dumps(task)]
            subprocess.run(command, check=False, cwd=ROOT)
    write_table()
    return 0


def tasks(kinds: list[str]) -> Iterator[dict[str, Any]]:
    """Yields what to compile: a name, a model, a batch, and the slices to try in turn."""
    common = {"family": "encoder_decoder", "size": "xxl", "rows": ROWS_OF_1M}
    if "xxl" in kinds:
        for generation, shapes in SLICES.items():
            slices = [f"{generation}:{shape}" for shape in shapes]
            yield {"name": f"xxl 1M tokens, smallest {generation}", **common, "slices": slices}
            yield {"name": f"xxl 1M tokens, 256 {generation}", **common, "slices": slices[-1:]}
    if "layers" in kinds:
        for layers in (12, 24):
            yield {
                "name": f"layers {layers}",
                **common,
                "slices": ["v5p:4x4x4"],
                "layers": layers,
                "plan": {"fsdp": 64, "tensor": 1, "num_microbatches": 1, "remat": "full"},
            }
    if "weak" in kinds:
        for chips, shape in WEAK.items():
            yield {
                "name": f"weak xl {chips} chips",
                "family": "encoder_decoder",
                "size": "xl",
                "rows": 8 * chips,
                "slices": [f"v5p:{shape}"],
                "plan": {"fsdp": 16, "tensor": 1, "num_microbatches": 1, "remat": "full"},
            }
    if "sizes" in kinds:
        for generation, shapes in SLICES.items():
            for family in FAMILIES:
                for size in SIZES:
                    yield {
                        "name": f"{family} {size}, {generation}",
                        "family": family,
                        "size": size,
                        "rows": 128,
                        "slices": [f"{generation}:{shape}" for shape in shapes],
                    }


def measure(task: Mapping[str, Any]) -> None:
    """Compiles the train step on the first slice that it fits, and adds a row."""
    from xlingual.compilation.autotune import autotune, rank_plans
    from xlingual.compilation.plans import Plan
    from xlingual.compilation.report import Report, as_json, compile_step
    from xlingual.compilation.topologies import describe_slice
    from xlingual.errors import ConfigError

    job = read_job(task)
    for name in task["slices"]:
        where = describe_slice(name)
        here = job.on(where)
        if "plan" in task:
            given = task["plan"]
            data = len(where.devices) // (given["fsdp"] * given["tensor"])
            plan = Plan(table="fsdp_tensor", data=data, **given)
            report, _ = compile_step(plan.apply(here), where, "train", fast=True)
        else:
            try:
                ranked = rank_plans(here, where)
            except ConfigError:
                ranked = []
            if not ranked:
                continue
            trials = autotune(here, where, max_compiles=3, first_that_fits=True, say=print)
            plan, report = trials[0].plan, trials[0].report
        if report.fits or name == task["slices"][-1]:
            found = as_json(Report(job=plan.apply(here), where=where, steps=[report]))
            write_row({"name": task["name"], "size": task["size"], **found})
            return


def read_job(task: Mapping[str, Any]) -> Any:
    """Returns the job of the gin files of a size."""
    from xlingual import config
    from xlingual.cli.gin_job import make_job

    family = task["family"]
    files = [
        f"gin/models/{family}/architecture.gin",
        f"gin/models/{family}/{task['size']}.gin",
        "gin/losses/cross_entropy.gin",
        "gin/optimizers/adafactor.gin",
        "gin/partitioning/fsdp_tensor.gin",
        "gin/runs/pretrain.gin",
    ]
    overrides = [
        ("VOCAB_SIZE", str(VOCAB_SIZE)),
        ("TASK_FEATURE_LENGTHS", "{'inputs': 1024, 'targets': 229}"),
        ("BATCH_SIZE", str(task["rows"])),
    ]
    for stack in ("ENCODER", "DECODER") if "layers" in task else ():
        overrides.append((f"NUM_{stack}_LAYERS", str(task["layers"])))
    config.parse(files, overrides, complete=False)
    return make_job()


def read_rows() -> list[dict[str, Any]]:
    """Returns the rows that were measured."""
    if not ROWS.is_file():
        return []
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def write_row(row: Mapping[str, Any]) -> None:
    """Adds a row."""
    with ROWS.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({k: v for k, v in row.items() if k != "assumptions"}) + "\n")


def write_table() -> None:
    """Writes the rows between the markers of docs/pods.md, and what is missing."""
    rows = {row["name"]: row for row in read_rows()}
    lines = [
        "| row | slice | mesh | parts, remat | arguments | temporaries | peak / memory | "
        "FLOPs of a device | seconds | MFU | compile s (processor) |",
        "|" + "---|" * 11,
        *(table_line(row) for row in rows.values()),
    ]
    missing = [task["name"] for task in tasks(list(KINDS)) if task["name"] not in rows]
    if missing:
        lines += ["", f"Not measured yet ({len(missing)}): " + "; ".join(missing) + "."]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text("\n".join([before + BEGIN, "", *lines, "", END]) + after, encoding="utf-8")


def table_line(row: Mapping[str, Any]) -> str:
    """Returns a row as a line of a Markdown table."""
    step, gib = row["steps"]["train"], 2**30
    mesh = " x ".join(str(size) for size in row["mesh"].values())
    measured = [
        f"{step['argument_bytes'] / gib:.2f}",
        f"{step['temporary_bytes'] / gib:.2f}",
        f"{step['peak_bytes'] / gib:.2f} / {row['hbm_bytes'] / gib:.2f} GiB"
        + ("" if step["fits"] else ", does not fit"),
        f"{step['flops']:.4g}" if "flops" in step else "",
        f"{step['seconds']:.3g}" if "seconds" in step else "",
        f"{step['mfu']:.0%}" if "mfu" in step else "",
        f"{step['compile_seconds']:.0f} ({step['compile_cpu_seconds']:.0f})",
    ]
    plan = f"{row['num_microbatches']}, {row['remat']}"
    cells = [row["name"], row["topology"], mesh, plan, *measured]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
