"""Arithmetic, memory traffic and communication of a compiled program, loops multiplied out."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from xlingual.compilation.hlo import Instruction, Program, Shape, group_members

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "iota", "custom-call", "copy-done"),
)
"""Instructions that move nothing themselves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """One kind of communication among groups of devices, as one instruction asks for it.

    Attributes:
      kind: of `COLLECTIVES`; a TPU's all-reduce whose result is cut at once is `reduce-scatter`.
      num_bytes: of the whole array on one device: gathered, or before it is reduced or exchanged.
      group_size: devices that take part together.
      crosses_slices: whether a group has devices of several slices.
      runs: how often it happens in a step.
      dtypes: element types, sorted.
      source: where in the model it comes from, as JAX named it.
      shapes: of the results.
    """

    kind: str
    num_bytes: float
    group_size: int
    crosses_slices: bool
    runs: float
    dtypes: tuple[str, ...]
    source: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def sent_bytes(self) -> float:
        """Bytes that a device sends on a ring, in all runs."""
        rest = (self.group_size - 1) / self.group_size
        factor = {"all-reduce": 2 * rest, "collective-permute": 1.0}.get(self.kind, rest)
        return self.runs * self.num_bytes * factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """What one device does in one call.

    Attributes:
      flops: of matrix products, those of rematerialised layers included.
      hbm_bytes: read and written by instructions, an upper bound: what stays in fast memory
        between two instructions counts too.
      collectives: every collective instruction that runs.
      unknown_loops: loops that were counted once because their length is not known.
    """

    flops: float
    hbm_bytes: float
    collectives: tuple[Collective, ...]
    unknown_loops: tuple[str, ...]

    def by_kind(self) -> dict[str, dict[str, float]]:
        """Returns kind -> `count` and `bytes` of a step; ` (dcn)` marks what crosses slices."""
        found: dict[str, dict[str, float]] = {}
        for one in self.collectives:
            name = one.kind + (" (dcn)" if one.crosses_slices else "")
            entry = found.setdefault(name, {"count": 0.0, "bytes": 0.0})
            entry["count"] += one.runs
            entry["bytes"] += one.runs * one.num_bytes
        return dict(sorted(found.items()))


def compute_costs(program: Program, *, num_devices: int, num_slices: int = 1) -> Costs:
    """Returns what one device does in one call of a program.

    Args:
      program: of one device of several.
      num_devices: devices that run it.
      num_slices: equal parts of them, in the order of the mesh, with a slower network between.
    """
    flops = hbm = 0.0
    collectives: list[Collective] = []
    channels: set[str] = set()
    for computation, instruction in program.instructions():
        runs = program.runs.get(computation, 0.0)
        if not runs:
            continue
        flops += runs * product_flops(program, computation, instruction)
        if computation not in program.fused:
            hbm += runs * traffic_bytes(program, computation, instruction)
        kind = instruction.opcode.removesuffix("-start")
        if kind in COLLECTIVES and not _is_continued(program, computation, instruction, channels):
            collectives += _read_collective(
                program, computation, instruction, runs, num_devices, num_slices
            )
        if "_xla_megascale_transfer_type" in instruction.text and instruction.opcode == "send":
            collectives.append(_read_transfer(program, computation, instruction, runs, num_slices))
    return Costs(
        flops=flops,
        hbm_bytes=hbm,
        collectives=tuple(collectives),
        unknown_loops=program.unknown_loops,
    )


def _read_transfer(
    program: Program, computation: str, instruction: Instruction, runs: float, num_slices: int
) -> Collective:
    """A collective between slices, which a TPU's host does on behalf of its chips."""
    found = re.search(r'_xla_megascale_transfer_type="(\w+)"', instruction.text)
    name = re.search(r'_xla_host_transfer_rendezvous="([^"]*)"', instruction.text)
    sent = program.operands(computation, instruction)[0].shapes
    return Collective(
        kind=found.group(1).lower().replace("_", "-") if found else "send",
        num_bytes=sum(shape.num_bytes for shape in sent),
        group_size=num_slices,
        crosses_slices=True,
        runs=runs,
        dtypes=tuple(sorted({shape.dtype for shape in sent})),
        source=name.group(1) if name else "",
        shapes=tuple(shape.sizes for shape in sent),
    )


def _is_continued(
    program: Program, computation: str, instruction: Instruction, channels: set[str]
) -> bool:
    """Whether an earlier fusion has begun this: a TPU spreads one collective over several."""
    channel = re.search(r"channel_id=(\d+)", instruction.text)
    if channel is None or computation not in program.fused:
        return False
    seen = channel.group(1) in channels
    channels.add(channel.group(1))
    return seen


def _read_collective(
    program: Program,
    computation: str,
    instruction: Instruction,
    runs: float,
    num_devices: int,
    num_slices: int,
) -> Iterator[Collective]:
    kind = instruction.opcode.removesuffix("-start")
    groups = group_members(instruction.text, num_devices)
    size = max(len(group) for group in groups)
    if size < 2:
        return
    per_slice = num_devices // num_slices
    operands = program.operands(computation, instruction)
    shapes = instruction.shapes
    if kind != "all-gather":
        shapes = tuple(shape for operand in operands for shape in operand.shapes) or shapes
    elif instruction.opcode.endswith("-start"):
        shapes = shapes[len(shapes) // 2 :]
    if "all-reduce-scatter" in computation and kind == "all-reduce":
        kind = "reduce-scatter"
    source = re.search(r'op_name="([^"]*)"', instruction.text)
    yield Collective(
        kind=kind,
        num_bytes=sum(shape.num_bytes for shape in shapes),
        group_size=size,
        crosses_slices=any(len({d // per_slice for d in group}) > 1 for group in groups),
        runs=runs,
        dtypes=tuple(sorted({shape.dtype for shape in shapes})),
        source=source.group(1) if source else "",
        shapes=tuple(shape.sizes for shape in instruction.shapes),
    )


def product_flops(program: Program, computation: str, instruction: Instruction) -> float:
    """Returns the operations of a matrix product or convolution, 0 for anything else.

    A TPU's products are convolutions whose windows may reach into padding: only pairs inside count.
    A kernel counts as what it has told the compiler.

    Args:
      program: the program.
      computation: where the instruction stands.
      instruction: any.
    """
    if instruction.opcode == "custom-call":
        told = re.search(r'"cost_estimate":\{"flops":"?(\d+)', instruction.text)
        return float(told.group(1)) if told else 0.0
    if instruction.opcode not in ("dot", "convolution"):
        return 0.0
    operands = [i.shapes[0] for i in program.operands(computation, instruction)]
    if len(operands) != 2:
        return 0.0
    result = math.prod(instruction.shapes[0].sizes)
    if instruction.opcode == "dot":
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.text)
        axes = [int(axis) for axis in (summed.group(1) if summed else "").split(",") if axis]
        return 2.0 * result * math.prod(operands[0].sizes[axis] for axis in axes)
    return _convolution_flops(instruction, operands)


def _convolution_flops(instruction: Instruction, operands: Sequence[Shape]) -> float:
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.text)
    if labels is None:
        return 0.0
    image, kernel, result = labels.groups()
    sizes = instruction.shapes[0].sizes
    flops = 2.0 * sizes[result.index("b")] * sizes[result.index("f")]
    flops *= operands[1].sizes[kernel.index("i")]
    window = _window(instruction.text)
    for axis, label in enumerate(sorted(c for c in result if c.isdigit())):
        flops *= _pairs_inside(
            operands[0].sizes[image.index(label)],
            operands[1].sizes[kernel.index(label)],
            sizes[result.index(label)],
            {name: values[axis] for name, values in window.items() if axis < len(values)},
        )
    groups = re.search(r"batch_group_count=(\d+)", instruction.text)
    return flops / (int(groups.group(1)) if groups else 1)


def _window(text: str) -> dict[str, list[str]]:
    found = re.search(r"window=\{([^}]*)\}", text)
    pairs = [part.split("=") for part in (found.group(1).split() if found else [])]
    return {name: value.split("x") for name, value in pairs}


def _pairs_inside(image: int, kernel: int, result: int, window: Mapping[str, str]) -> float:
    """Counts the pairs (position of the result, of the window) that meet an entry of the image."""
    low = int(window.get("pad", "0_0").split("_")[0])
    stride = int(window.get("stride", "1"))
    spread = int(window.get("lhs_dilate", "1"))
    step = int(window.get("rhs_dilate", "1"))
    last = (image - 1) * spread
    count = 0
    for k in range(kernel):
        # Positions o of the result with 0 <= o * stride + k * step - low <= last, on the grid.
        offset = k * step - low
        if spread == 1:
            first = max(0, -(offset // stride))
            count += max(0, min(result - 1, (last - offset) // stride) - first + 1)
        else:
            places = (o * stride + offset for o in range(result))
            count += sum(0 <= p <= last and p % spread == 0 for p in places)
    return count


def traffic_bytes(program: Program, computation: str, instruction: Instruction) -> float:
    """Returns the bytes that an instruction reads and writes in memory.

    Of an array that a fusion only cuts slices from, the slices count; of one that it updates in
    place, the update.

    Args:
      program: the program.
      computation: where the instruction stands, not inside a fusion.
      instruction: any.
    """
    kernel = '"cost_estimate":{"flops"' in instruction.text
    if (instruction.opcode in _FREE and not kernel) or instruction.opcode.endswith("-done"):
        return 0.0
    operands = program.operands(computation, instruction)
    if instruction.opcode == "dynamic-slice":
        return 2 * instruction.num_bytes
    if instruction.opcode == "dynamic-update-slice":
        return 2 * operands[1].num_bytes if len(operands) > 1 else 0.0
    if instruction.opcode == "fusion":
        body = program.computations.get(instruction.called.get("calls", [""])[0], {})
        return _fusion_bytes(instruction, operands, body)
    return instruction.num_bytes + sum(operand.num_bytes for operand in operands)


def _fusion_bytes(
    fusion: Instruction, operands: Sequence[Instruction], body: Mapping[str, Instruction]
) -> float:
    users: dict[str, list[Instruction]] = collections.defaultdict(list)
    parameters: dict[int, str] = {}
    for instruction in body.values():
        for name in instruction.operands:
            users[name].append(instruction)
        if instruction.opcode == "parameter":
            parameters[int(instruction.text.split(")")[0])] = instruction.name

    def read(name: str, whole: float) -> float:
        total = 0.0
        for user in users[name]:
            if user.opcode in ("bitcast", "reshape", "copy"):
                total += read(user.name, whole)
            elif user.opcode == "dynamic-slice":
                total += user.num_bytes
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                continue
            else:
                return whole
        return min(total, whole)

    total = sum(
        read(parameters[i], operand.num_bytes) if i in parameters else operand.num_bytes
        for i, operand in enumerate(operands)
    )
    updates = [i for i in body.values() if i.opcode == "dynamic-update-slice"]
    if updates and any(i.num_bytes >= fusion.num_bytes / 2 for i in updates):
        return total + sum(body[i.operands[1]].num_bytes for i in updates if i.operands[1] in body)
    return total + fusion.num_bytes
