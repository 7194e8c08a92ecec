"""Time of one training step: tokens/s and MFU of a gin file, with a PyTorch peer beside it.

The step is the one that the train loop runs (forward, losses, metrics, backward, update) on one
constant random batch, so no input pipeline is measured. `--peer` alternates blocks of our steps
with blocks of the same shape in transformers/PyTorch, in processes of their own: eager, compiled by
`torch.compile`, or both, and then the faster one counts. The last line of the output is one JSON
object.

    python benchmarks/train_step.py --gin_file=benchmarks/mt5_small.gin --peer --steps 10

References:
  Chowdhery et al., 2022, "PaLM", arXiv:2204.02311, section 4.1 and appendix B (model FLOPs
  utilisation).
"""

import argparse
import contextlib
import dataclasses
import functools
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import jax
import numpy as np

if not __package__:  # run as a script: the folder above is not on the path yet
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.command import make_parser, run_command
from benchmarks.constant_source import ConstantSource
from benchmarks.peer import Peer, PeerShape, peer_config
from xlingual.cli import gin_flags
from xlingual.errors import ConfigError
from xlingual.models.flops import nominal_tokens
from xlingual.reporting.results import peak_rss_bytes
from xlingual.reporting.utilization import measured_product_flops, peak_flops_per_second
from xlingual.training import loop
from xlingual.training.state import BatchSpec, make_state, plan_state
from xlingual.training.step import make_train_step

FIRST_TOKEN = 3
"""Random ids start above padding, EOS and unknown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a JSON line and returns the exit status: 2 for bad input."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each side")
    parser.add_argument("--block", type=int, default=2, help="steps before the other's turn")
    parser.add_argument(
        "--peer_modes",
        default="eager",
        help="eager, compiled, or eager,compiled",
    )
    parser.add_argument(
        "--peer_dtype", default="float32", choices=("float32", "bfloat16"), help="of its products"
    )
    return run_command("train_step", parser, run, argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what was measured, as JSON types.

    Raises:
      ConfigError: bad gin, or a peer that cannot be had.
    """
    if min(args.steps, args.block, args.threads) < 1:
        raise ConfigError("--steps, --block and --threads must be at least 1")
    modes = args.peer_modes.split(",") if args.peer else []
    if not set(modes) <= {"eager", "compiled"}:
        raise ConfigError(f"--peer_modes={args.peer_modes}; expected eager, compiled or both")
    gin_flags.parse_gin(args)
    parts = bound_parts()
    shapes = {mode: peer_shape(parts, args, compiled=mode == "compiled") for mode in modes}
    setup = build(parts)
    with contextlib.ExitStack() as stack:
        peers = {
            mode: stack.enter_context(contextlib.closing(Peer(shape, python=args.peer_python)))
            for mode, shape in shapes.items()
        }
        ours, theirs = measure(setup, peers, steps=args.steps, block=args.block)
        memory = {mode: peer.peak_memory_bytes() for mode, peer in peers.items()}
    result = {"benchmark": "train_step", "gin_file": args.gin_file, **summarize(setup, ours)}
    if theirs:
        result["peers"] = {
            mode: {
                **_summarize_peer(setup, shapes[mode], seconds),
                "peak_memory_bytes": memory[mode],
            }
            for mode, seconds in theirs.items()
        }
        best = min(result["peers"].values(), key=lambda peer: peer["seconds_per_step"])
        result["peer"] = best
        result["ratio_to_peer"] = best["seconds_per_step"] / statistics.median(ours)
        shortest = min(peer["seconds_per_step_min"] for peer in result["peers"].values())
        result["ratio_to_peer_of_minima"] = shortest / min(ours)
    return result


def _summarize_peer(setup: "Setup", shape: PeerShape, seconds: Sequence[float]) -> dict[str, Any]:
    median = statistics.median(seconds)
    return {
        "name": f"transformers {shape.config['architectures'][0]}",
        "mode": "compiled" if shape.compiled else "eager",
        "dtype": shape.dtype,
        "optimizer": f"torch.optim.{shape.optimizer}",
        "threads": shape.threads,
        "seconds_per_step": median,
        "seconds_per_step_min": min(seconds),
        "tokens_per_second": setup.num_tokens / median,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """A compiled step and what is known about it.

    Attributes:
      step: runs one step and waits for it.
      compiled: the program of a step.
      model: the model.
      spec: name -> shape and dtype of a batch feature.
      optimizer_name: class name of the optimizer.
      devices: devices of the mesh.
      compile_seconds: time that tracing and compiling took.
    """

    step: Callable[[], None]
    compiled: jax.stages.Compiled
    model: Any
    spec: BatchSpec
    optimizer_name: str
    devices: tuple[jax.Device, ...]
    compile_seconds: float

    @property
    def num_tokens(self) -> int:
        """Positions of a batch, encoder and decoder together."""
        counts = nominal_tokens(self.spec)
        return int(counts.encoder + counts.decoder)


def bound_parts() -> dict[str, Any]:
    """Returns the arguments of the train loop, made as the parsed gin files say.

    Raises:
      ConfigError: the files do not bind the train loop.
    """
    try:
        parts = gin.get_bindings(loop.train, resolve_references=True)
    except ValueError as error:
        raise ConfigError(f"gin: {error}") from error
    missing = {"model", "source", "losses", "optimizer", "partitioner"} - set(parts)
    if missing:
        raise ConfigError(
            f"the gin files do not bind all of loop.train, {sorted(missing)} are missing; include "
            "gin/runs/pretrain.gin"
        )
    return parts


def spec_of(parts: Mapping[str, Any]) -> BatchSpec:
    """Returns the form of a batch, without asking what data there is.

    Args:
      parts: from `bound_parts`.
    """
    source = getattr(parts["source"], "base", parts["source"])
    if isinstance(source, ConstantSource):
        return source.spec
    from xlingual.data import datasets  # needs SeqIO

    return datasets.batch_spec(
        source.feature_converter, source.task_feature_lengths, source.batch_size
    )


def build(parts: Mapping[str, Any]) -> Setup:
    """Returns the training step, compiled.

    Args:
      parts: from `bound_parts`.

    Raises:
      ConfigError: the parts do not fit together.
    """
    model, losses, optimizer = parts["model"], parts["losses"], parts["optimizer"]
    partitioner = parts["partitioner"]
    spec = spec_of(parts)
    num_microbatches = parts.get("num_microbatches", 1)
    partitioner.check_batch_size(spec["decoder_input_tokens"].shape[0], num_microbatches)
    layout = plan_state(model, optimizer, partitioner, spec)
    state = make_state(model, layout, partitioner, spec, seed=0)
    batch = partitioner.shard_batch(random_batch(spec, model.vocab_size))
    train_step = make_train_step(
        model=model,
        losses=losses,
        layout=layout,
        learning_rate=optimizer.learning_rate,
        num_tasks=1,
        num_microbatches=num_microbatches,
    )
    jitted = partitioner.jit(
        train_step,
        in_shardings=(layout.shardings, partitioner.batch_sharding),
        out_shardings=(layout.shardings, partitioner.replicated),
        donate_argnums=(0,),
    )
    start = time.perf_counter()
    compiled = jitted.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - start
    held = [state]

    def step() -> None:
        held[0], metrics = compiled(held[0], batch)
        jax.block_until_ready((held[0], metrics))

    return Setup(
        step=step,
        compiled=compiled,
        model=model,
        spec=spec,
        optimizer_name=type(optimizer).__name__,
        devices=tuple(partitioner.mesh.devices.flat),
        compile_seconds=compile_seconds,
    )


def random_batch(spec: BatchSpec, vocab_size: int) -> dict[str, np.ndarray]:
    """Returns full rows of one example each, random tokens, every target weighted 1.

    Args:
      spec: name -> shape [batch, length] and dtype of a model feature.
      vocab_size: tokens lie below.
    """
    random = np.random.default_rng(0)
    batch = {}
    for name, leaf in spec.items():
        if name.endswith("_tokens"):
            value = random.integers(FIRST_TOKEN, vocab_size, leaf.shape)
        elif name.endswith("_positions"):
            value = np.broadcast_to(np.arange(leaf.shape[1]), leaf.shape)
        elif name == "decoder_causal_attention":
            value = np.zeros(leaf.shape)
        else:  # segment ids, task ids, loss weights
            value = np.ones(leaf.shape)
        batch[name] = np.ascontiguousarray(value, leaf.dtype)
    return batch


def peer_shape(parts: Mapping[str, Any], args: argparse.Namespace, *, compiled: bool) -> PeerShape:
    """Returns what the peer must build to do the same work.

    Args:
      parts: from `bound_parts`.
      args: `threads` and `peer_dtype`.
      compiled: whether `torch.compile` compiles it.

    Raises:
      ConfigError: transformers has no model of that shape.
    """
    spec = spec_of(parts)
    encoder = spec.get("encoder_input_tokens")
    batch_size, targets = spec["decoder_target_tokens"].shape
    return PeerShape(
        config=peer_config(parts["model"]),
        batch_size=batch_size,
        inputs_length=0 if encoder is None else encoder.shape[1],
        targets_length=targets,
        optimizer=type(parts["optimizer"]).__name__,
        threads=args.threads,
        device="cuda" if jax.default_backend() == "gpu" else "cpu",
        dtype=args.peer_dtype,
        compiled=compiled,
    )


def measure(
    setup: Setup, peers: Mapping[str, Peer], *, steps: int, block: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Returns the seconds of each of our steps and of the peers', after a warm-up of all.

    Blocks of all follow each other, and who begins alternates, so that what else the machine does
    falls on all alike.

    Args:
      setup: our step.
      peers: mode -> peer; may be empty.
      steps: steps of each, at least.
      block: steps of one before the turn of the next.
    """
    ours: list[float] = []
    theirs: dict[str, list[float]] = {mode: [] for mode in peers}

    def run_ours(count: int) -> None:
        for _ in range(count):
            start = time.perf_counter()
            setup.step()
            ours.append(time.perf_counter() - start)

    def run_theirs(mode: str, count: int) -> None:
        theirs[mode].extend(peers[mode].run(count))

    order = [run_ours, *(functools.partial(run_theirs, mode) for mode in peers)]
    for run_one in order:
        run_one(2)
    for seconds in (ours, *theirs.values()):
        seconds.clear()
    while len(ours) < steps:
        for run_one in order:
            run_one(block)
        order.reverse()
    return ours, theirs


def summarize(setup: Setup, seconds: Sequence[float]) -> dict[str, Any]:
    """Returns our side of the result."""
    median = statistics.median(seconds)
    flops = setup.model.train_flops(nominal_tokens(setup.spec))
    peak, source = peak_flops(setup.devices, setup.model.config.dtype)
    return {
        "family": setup.model.family,
        "dtype": setup.model.config.dtype,
        "optimizer": setup.optimizer_name,
        "device": setup.devices[0].device_kind,
        "num_devices": len(setup.devices),
        "features": {name: list(leaf.shape) for name, leaf in setup.spec.items()},
        "steps": len(seconds),
        "seconds_per_step": median,
        "seconds_per_step_min": min(seconds),
        "compile_seconds": setup.compile_seconds,
        "tokens_per_step": setup.num_tokens,
        "tokens_per_second": setup.num_tokens / median,
        "flops_per_step": flops.total,
        "flops_by_part": dataclasses.asdict(flops),
        "flops_per_second": flops.total / median,
        "peak_flops_per_second": peak,
        "peak_source": source,
        "mfu": flops.total / median / peak,
        "peak_memory_bytes": peak_memory(setup.devices[0]),
    }


def peak_memory(device: jax.Device) -> int:
    """Returns the most bytes that a device held so far; on a CPU, this process."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    return int(stats["peak_bytes_in_use"]) if stats else peak_rss_bytes()


def peak_flops(devices: Sequence[jax.Device], dtype: str) -> tuple[float, str]:
    """Returns the peak of all devices together and where the number comes from.

    Accelerators have an entry in a table (dense bfloat16); on others the largest of several
    square products in the model's dtype is timed here and now. Devices that share one processor
    share its peak.
    """
    known = [peak_flops_per_second(device.device_kind) for device in devices]
    if all(known):
        return float(sum(peak or 0.0 for peak in known)), "table"
    return measured_product_flops(devices[0], dtype), f"{dtype} products, measured in this run"


if __name__ == "__main__":
    sys.exit(main())
