"""Where a step goes: embedding, attention, feed-forward, loss, optimizer, collectives, host.

Traces some steps of a gin file on a constant random batch, and adds up the time of every operation
by the part of the model that it was made from, as the compiled program says. `host` is the time of
a step in which no operation ran. The last line of the output is one JSON object.

    python benchmarks/breakdown.py --gin_file=benchmarks/mt5_small.gin --steps 3
"""

import argparse
import collections
import pathlib
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.profiler import ProfileData

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import train_step
from benchmarks.command import make_parser, run_command
from xlingual.cli import gin_flags
from xlingual.errors import ConfigError

PARTS = {
    "optimizer": ("optimizer",),
    "loss": ("loss", "logits_dense", "attend", "logits"),
    "attention": ("attention", "self_attention", "encoder_decoder_attention", "relpos_bias"),
    "feed-forward": ("mlp",),
    "embedding": ("token_embedder",),
    "normalization": (
        "pre_attention_layer_norm",
        "pre_self_attention_layer_norm",
        "pre_cross_attention_layer_norm",
        "pre_mlp_layer_norm",
        "encoder_norm",
        "decoder_norm",
    ),
}
"""Part -> words in the name of an operation; the first part that has one of them takes it. The loss
has the output layer with it."""

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
CONTAINERS = ("while", "call", "conditional")
"""Operations whose time is that of others inside of them."""

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = .*? ([a-z][\w\-]*)\(")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_CALLS = re.compile(r"calls=%?([\w.\-]+)")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table and a JSON line, and returns the exit status: 2 for bad input."""
    parser = make_parser(__doc__ or "", peer=False)
    parser.add_argument("--steps", type=int, default=3, help="steps that are traced")
    parser.add_argument("--top", type=int, default=0, help="also list the slowest operations")
    return run_command("breakdown", parser, run, argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what was measured, as JSON types.

    Raises:
      ConfigError: bad gin.
    """
    if args.steps < 1:
        raise ConfigError("--steps must be at least 1")
    gin_flags.parse_gin(args)
    setup = train_step.build(train_step.bound_parts())
    parts = parts_of_operations(setup.compiled.as_text())
    for _ in range(2):
        setup.step()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            walls = [_timed(setup.step) for _ in range(args.steps)]
        (trace,) = pathlib.Path(folder).rglob("*.xplane.pb")
        operations = list(read_operations(trace, parts))
    wall = statistics.fmean(walls)
    seconds = sum_parts(operations, parts, args.steps, len(setup.devices))
    busy = busy_seconds(operations) / args.steps
    seconds["host"] = max(wall - busy, 0.0)
    total = sum(seconds.values())
    for part, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"{part:<14}{value * 1e3:>12.2f} ms {value / total:>7.1%}")
    for name, value in slowest(operations, args.top):
        print(f"  {value / args.steps * 1e3:>10.2f} ms  {name:<28} {parts.get(name, '')}")
    return {
        "benchmark": "breakdown",
        "gin_file": args.gin_file,
        "device": setup.devices[0].device_kind,
        "seconds_per_step": wall,
        "busy_seconds_per_step": busy,
        "host_share": seconds["host"] / wall,
        "operation_seconds_by_part": seconds,
        "shares": {part: value / total for part, value in seconds.items()},
    }


def parts_of_operations(program: str) -> dict[str, str]:
    """Returns the part of each operation of a compiled program, in HLO's text form.

    An operation without a name of its own, as some fusions are, belongs where most of what it was
    fused from belongs.

    >>> parts_of_operations('  %dot.1 = f32[2]{0} dot(%a), metadata={op_name="jit(f)/mlp/wi"}')
    {'dot.1': 'feed-forward'}
    """
    parts: dict[str, str] = {}
    inside: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    nameless: dict[str, str] = {}
    computation = ""
    for line in program.splitlines():
        if begun := _COMPUTATION.match(line):
            computation = begun[1]
        if not (found := _INSTRUCTION.match(line)):
            continue
        name, opcode = found.groups()
        op_name, calls = _OP_NAME.search(line), _CALLS.search(line)
        if opcode.removesuffix("-start").removesuffix("-done") in COLLECTIVES:
            parts[name] = "collectives"
        elif opcode not in CONTAINERS:
            parts[name] = _part(op_name[1]) if op_name else "other"
            inside[computation][parts[name]] += bool(op_name)
            if not op_name and calls:
                nameless[name] = calls[1]
    for name, called in nameless.items():
        ((parts[name], _),) = inside[called].most_common(1) or (("other", 0),)
    return parts


def _part(op_name: str) -> str:
    words = set(re.split(r"\W+", op_name))
    return next((part for part, names in PARTS.items() if words & {*names}), "other")


def read_operations(
    trace: pathlib.Path, parts: Mapping[str, str]
) -> Iterable[tuple[str, float, float]]:
    """Yields name, start and end, in seconds, of every operation of a program in a trace.

    Args:
      trace: an `.xplane.pb`.
      parts: names of the operations that count.
    """
    for plane in ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            if plane.name.startswith("/device:TPU") and line.name != "XLA Ops":
                continue
            for event in line.events:
                name = str(dict(event.stats).get("hlo_op", event.name)).lstrip("%")
                if name in parts:
                    begin = event.start_ns / 1e9
                    yield name, begin, begin + event.duration_ns / 1e9


def sum_parts(
    operations: Iterable[tuple[str, float, float]],
    parts: Mapping[str, str],
    steps: int,
    devices: int,
) -> dict[str, float]:
    """Returns part -> seconds of its operations, for one step and one device.

    On a CPU several operations may run at once: the sum is then longer than the step.
    """
    seconds: dict[str, float] = collections.defaultdict(float)
    for name, begin, end in operations:
        seconds[parts[name]] += (end - begin) / steps / devices
    return dict(seconds)


def busy_seconds(operations: Iterable[tuple[str, float, float]]) -> float:
    """Returns for how long at least one operation ran.

    >>> busy_seconds([("a", 0.0, 2.0), ("b", 1.0, 3.0), ("c", 5.0, 6.0)])
    4.0
    """
    busy, last = 0.0, float("-inf")
    for _, begin, end in sorted(operations, key=lambda operation: operation[1]):
        busy += max(end - max(begin, last), 0.0)
        last = max(last, end)
    return busy


def slowest(operations: Iterable[tuple[str, float, float]], count: int) -> list[tuple[str, float]]:
    """Returns the operations that took the most time in all, and their seconds."""
    seconds: collections.Counter[str] = collections.Counter()
    for name, begin, end in operations:
        seconds[name] += end - begin
    return seconds.most_common(count) if count else []


def _timed(step: Any) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
