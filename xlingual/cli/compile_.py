"""`xlingual compile`: the programs of a run, compiled for a TPU slice that need not be there."""

import argparse
import json
import pathlib

import rich.console

from xlingual.cli import gin_flags
from xlingual.cli.gin_job import make_job
from xlingual.compilation import job as jobs
from xlingual.compilation.autotune import autotune, plan_gin
from xlingual.compilation.report import Report, as_json, compile_step
from xlingual.compilation.table import make_report_table
from xlingual.compilation.topologies import Slice, describe_slice
from xlingual.errors import ConfigError
from xlingual.training.executables import save_executable

HELP = "compile a run's programs for a TPU slice without one: memory, FLOPs, traffic, time"
EXAMPLE = (
    "xlingual compile --gin_file=gin/experiments/mt5.gin --gin.VOCAB_SIZE=250112 --topology=v5e:4x4"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    gin_flags.add_gin_arguments(parser)
    parser.add_argument(
        "--topology",
        required=True,
        help="slice in chips: v4:2x2x4, v5e:4x4, v5p:4x4x4, v6e:8x8, tpu7x:2x2x1; or cpu:8",
    )
    parser.add_argument("--num_slices", type=int, default=1, help="slices of that shape")
    parser.add_argument(
        "--steps",
        default=",".join(jobs.STEPS),
        help="which programs, by comma (default: all of %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument(
        "--autotune",
        metavar="FILE",
        help="search mesh, microbatches and remat; write the fastest plan that fits as a gin file",
    )
    parser.add_argument(
        "--max_compiles", type=int, default=4, help="plans that --autotune compiles at most"
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="let the compiler try less: a third of the time, the program may run slower",
    )
    parser.add_argument(
        "--save", metavar="FOLDER", help="keep the compiled train step for --gin.EXECUTABLE=FOLDER"
    )
    parser.add_argument(
        "--data",
        action="store_true",
        help="read the run's data for batch shapes and number of tasks, as --save needs them",
    )
    parser.add_argument("--batch_size", type=int, help="rows of a batch (default: BATCH_SIZE)")
    parser.add_argument(
        "--inputs_length", type=int, help="tokens (default: of TASK_FEATURE_LENGTHS)"
    )
    parser.add_argument("--targets_length", type=int, help="the same for targets")
    parser.add_argument(
        "--num_tasks", type=int, default=1, help="tasks of the data: metrics have a row each"
    )
    parser.add_argument(
        "--optional_features",
        default="",
        help="optional features of the data's tasks, by comma, e.g. targets_groups",
    )


def main(args: argparse.Namespace) -> int:
    """Compiles and reports; returns 1 where a program does not fit into the chip's memory.

    Raises:
      ConfigError: for anything wrong with the input, before anything is compiled.
    """
    if not args.gin_file:
        raise ConfigError("--gin_file: none given; expected at least one, e.g. " + EXAMPLE)
    steps = [step for step in args.steps.split(",") if step]
    unknown = [step for step in steps if step not in jobs.STEPS]
    if unknown or not steps:
        raise ConfigError(f"--steps={args.steps}; expected some of {', '.join(jobs.STEPS)}")
    if args.save and "train" not in steps:
        raise ConfigError(f"--save={args.save} keeps the train step; --steps={args.steps} lacks it")
    where = describe_slice(args.topology, args.num_slices)
    gin_flags.parse_gin(args, complete=False)
    job = read_job(args).on(where)
    if args.autotune:
        job = _tune(args, job, where)
    job.check()
    reports = []
    for step in steps:
        found, compiled = compile_step(job, where, step, fast=args.fast)
        reports.append(found)
        if args.save and step == "train" and found.fits:
            save_executable(args.save, compiled, job.train_program.identity)
    report = Report(job=job, where=where, steps=reports)
    rich.console.Console().print(make_report_table(report))
    if args.json:
        print(json.dumps(as_json(report)))
    return 0 if report.fits else 1


def _tune(args: argparse.Namespace, job: jobs.Job, where: Slice) -> jobs.Job:
    """Returns the job spread by the fastest plan that fits, which is written to a gin file."""
    trials = autotune(job, where, max_compiles=args.max_compiles, say=print)
    best = trials[0]
    if not best.report.fits:
        raise ConfigError(
            f"none of the {len(trials)} plans that were compiled fits {where.name}; expected a "
            "larger slice, a smaller batch, or more --max_compiles"
        )
    pathlib.Path(args.autotune).write_text(plan_gin(best.plan, where), encoding="utf-8")
    print(f"the fastest plan that fits is in {args.autotune}")
    return best.plan.apply(job)


def read_job(args: argparse.Namespace) -> jobs.Job:
    """Returns the job of the gin files, with what flags say instead.

    Raises:
      ConfigError: one length without the other, or as `make_job`.
    """
    given = (args.inputs_length, args.targets_length)
    if (given[0] is None) != (given[1] is None):
        raise ConfigError("--inputs_length and --targets_length; expected both or none")
    lengths = None if given[0] is None else {"inputs": given[0], "targets": given[1]}
    return make_job(
        lengths=lengths,
        batch_size=args.batch_size,
        num_tasks=args.num_tasks,
        optional_features=[name for name in args.optional_features.split(",") if name],
        read_data=args.data,
    )
