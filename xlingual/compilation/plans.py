"""Ways to run a job on a slice, and what each needs and takes by arithmetic alone.

These figures cost microseconds, so that thousands of plans are ranked before one is compiled. They
are rough (tens of percent): the compiler has the last word on memory, the compiled program on time.

References:
  Rajbhandari et al., 2020, "ZeRO", arXiv:1910.02054, section 3 (memory of a training step);
  Korthikanti et al., 2022, arXiv:2205.05198, section 4 (activations of a transformer layer).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from xlingual.compilation.job import Job
from xlingual.compilation.roofline import PRODUCT_EFFICIENCY
from xlingual.compilation.topologies import Slice
from xlingual.models.config import REMAT_POLICIES, TransformerConfig
from xlingual.partitioning import rules

MAX_TENSOR = 16
"""Longest mesh axis `tensor` that is tried: heads are then few on a device."""

_RECOMPUTED = {"none": 0.0, "dots": 0.05, "minimal": 0.1, "offload": 0.1, "full": 1.0}
"""Remat policy -> part of the forward pass that is computed again."""

_HOST_BYTES_PER_SECOND = 1.5e10
"""One way between a chip and its host (PCIe), for offloaded activations."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How a job is spread.

    Attributes:
      table: rule table (`partitioning.rules`), by name.
      data: size of the mesh axis.
      fsdp: size of the mesh axis.
      tensor: size of the mesh axis.
      num_microbatches: parts of a batch, one after the other.
      remat: what a layer saves for its gradient.
    """

    table: str
    data: int
    fsdp: int
    tensor: int
    num_microbatches: int
    remat: str

    def apply(self, job: Job) -> Job:
        """Returns the job spread like this; its model must have a `TransformerConfig`."""
        config: TransformerConfig = job.model.config  # type: ignore[attr-defined]
        model = dataclasses.replace(
            job.model,  # type: ignore[type-var]
            config=dataclasses.replace(config, remat=self.remat),
        )
        partitioner = dataclasses.replace(
            job.partitioner,
            rules=getattr(rules, self.table)(),
            data=self.data,
            fsdp=self.fsdp,
            tensor=self.tensor,
        )
        return dataclasses.replace(
            job, model=model, partitioner=partitioner, num_microbatches=self.num_microbatches
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guess:
    """What a plan needs and takes, by arithmetic.

    Attributes:
      bytes_per_device: state, gradients and activations.
      seconds: of a step.
    """

    bytes_per_device: float
    seconds: float


def make_plans(job: Job, where: Slice, remats: Sequence[str] = REMAT_POLICIES) -> Iterator[Plan]:
    """Yields every factorisation of the mesh with every number of microbatches and policy.

    Plans whose axes do not divide rows, heads, widths or vocabulary are left out.

    Args:
      job: gives batch and model.
      where: the slice; between slices only `data` is cut.
      remats: policies to try.
    """
    config: TransformerConfig = job.model.config  # type: ignore[attr-defined]
    rows = job.spec["decoder_input_tokens"].shape[0]
    size = len(where.devices)
    for tensor in _divisors(size):
        widths = (config.num_heads, config.kv_heads, config.d_ff, config.vocab_size)
        if tensor > MAX_TENSOR or any(width % tensor for width in widths):
            continue
        for fsdp in _divisors(size // tensor):
            data = size // (tensor * fsdp)
            if data % where.num_slices or config.d_model % fsdp or rows % (data * fsdp):
                continue
            table = "fsdp_tensor" if tensor > 1 else "fsdp" if fsdp > 1 else "data_parallel"
            for parts in _divisors(rows // (data * fsdp)):
                for remat in remats:
                    yield Plan(
                        table=table,
                        data=data,
                        fsdp=fsdp,
                        tensor=tensor,
                        num_microbatches=parts,
                        remat=remat,
                    )


def guess(job: Job, where: Slice, plan: Plan, state_bytes: float) -> Guess:
    """Returns what a plan needs and takes.

    Args:
      job: gives batch and model.
      where: the slice.
      plan: how it is spread.
      state_bytes: of parameters and optimizer state, all devices together.
    """
    config: TransformerConfig = job.model.config  # type: ignore[attr-defined]
    shapes = {
        name.removesuffix("_input_tokens"): leaf.shape
        for name, leaf in job.spec.items()
        if name.endswith("_input_tokens")
    }
    shards = plan.data * plan.fsdp
    rows = shapes["decoder"][0] / (shards * plan.num_microbatches)
    lengths = {stack: shape[1] for stack, shape in shapes.items()}
    held = state_bytes / (plan.fsdp * plan.tensor)
    parameters = job.num_parameters
    gradients = 4.0 * parameters / (plan.fsdp * plan.tensor)
    layers = {"encoder": config.num_encoder_layers, "decoder": config.num_decoder_layers}
    saved = sum(
        layers[stack]
        * rows
        * length
        * _saved_bytes(config, plan, length, lengths.get("encoder", 0) if stack == "decoder" else 0)
        for stack, length in lengths.items()
    )
    longest = max(lengths.values())
    scores = 2 * 4.0 * rows * config.num_heads / plan.tensor * longest**2
    logits = 2.5 * 4.0 * rows * lengths["decoder"] * config.vocab_size / plan.tensor
    gathered = 2 * 2.0 * config.d_model * config.vocab_size / plan.tensor
    on_device = 0.0 if plan.remat == "offload" else saved
    needed = held + gradients + on_device + scores + logits + gathered
    return Guess(
        bytes_per_device=needed,
        seconds=_seconds(job, where, plan, rows, lengths, layers, saved),
    )


def _saved_bytes(config: TransformerConfig, plan: Plan, length: int, other: int) -> float:
    """Returns the bytes that a layer keeps for each token: of the stream whole, of the rest a part.

    Args:
      config: sizes.
      plan: gives policy and `tensor`.
      length: keys of self-attention.
      other: keys of cross-attention, 0 without.
    """
    stream = 2.0 * config.d_model
    if plan.remat == "full":
        return stream
    inner = config.num_heads * config.d_kv
    attentions = 2 if other else 1
    products = 2.0 * attentions * 3 * inner / plan.tensor + 2.0 * 2 * config.d_ff / plan.tensor
    products += 2.0 * (attentions + 1) * config.d_model
    if plan.remat in ("minimal", "offload"):
        return stream + products
    scores = 2.0 * config.num_heads / plan.tensor * (length + other)
    if plan.remat == "dots":
        return stream + products + 3 * scores
    return 3 * stream + products + 2.0 * config.d_ff / plan.tensor + scores


def _seconds(
    job: Job,
    where: Slice,
    plan: Plan,
    rows: float,
    lengths: Mapping[str, int],
    layers: Mapping[str, int],
    saved: float,
) -> float:
    chip, config = where.chip, job.model.config  # type: ignore[attr-defined]
    useful = job.formula_flops / len(where.devices)
    arithmetic = useful * (1 + _RECOMPUTED[plan.remat] / 3)
    # Every microbatch reads the gathered kernels for each of its passes, and adds to the gradients.
    passes = 3 + _RECOMPUTED[plan.remat]
    kept = 8.0 * job.num_parameters / (plan.fsdp * plan.tensor)
    traffic = (2.0 * passes * job.num_parameters / plan.tensor + kept) * plan.num_microbatches
    compute = max(
        arithmetic / (chip.flops_per_second * PRODUCT_EFFICIENCY),
        traffic / chip.hbm_bytes_per_second,
    )
    link = 2 * chip.link_bytes_per_second
    kernels = 2.0 * job.num_parameters / plan.tensor
    ring = {n: (n - 1) / n for n in (plan.fsdp, plan.tensor, plan.data)}
    # Gathered for the forward and the backward pass of each microbatch; gradients reduced once.
    fsdp = 3 * kernels * ring[plan.fsdp] * plan.num_microbatches / link
    tokens = sum(rows * length * layers[stack] for stack, length in lengths.items())
    cross = 3 if layers["encoder"] else 2
    tensor = 2 * 2 * cross * 2.0 * tokens * config.d_model * ring[plan.tensor] / link
    tensor *= plan.num_microbatches
    gradient = 2 * 4.0 * job.num_parameters / (plan.fsdp * plan.tensor) * ring[plan.data]
    between = chip.dcn_bytes_per_second if where.num_slices > 1 else link
    offload = 2 * saved * plan.num_microbatches / _HOST_BYTES_PER_SECOND
    if plan.remat != "offload":
        offload = 0.0
    return compute + fsdp + tensor + gradient / between + offload


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
