"""What a compiled program will do, read from its text: computations, and how often each runs.

XLA's own cost analysis counts the body of a loop once, however many layers it runs over. Here a
computation counts as often as it is called: a loop that compares its counter with a constant runs
that many times; one whose length the text does not tell counts once and is reported.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r" ([a-z][a-z0-9\-]*)\(")
_SHAPE = re.compile(r"\b([a-z]+[0-9]*(?:e\dm\d\w*)?)\[([0-9,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"\b(calls|to_apply|condition|body|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_NAMED_GROUPS = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))?"
    r" ?\{([^}]*)\}"
)
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')

ITEM_BYTES: Mapping[str, float] = {
    **dict.fromkeys(("pred", "s8", "u8"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64", "c64"), 8),
    **dict.fromkeys(("s4", "u4"), 0.5),
    **dict.fromkeys(("token", "opaque"), 0),
}
"""Element type -> bytes; 8-bit floats, whose names vary, count one byte."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array of a program.

    Attributes:
      dtype: as XLA names it, e.g. `bf16`.
      sizes: of its dimensions.
    """

    dtype: str
    sizes: tuple[int, ...]

    @property
    def num_bytes(self) -> float:
        """Bytes without the padding of tiles."""
        return ITEM_BYTES.get(self.dtype, 1) * math.prod(self.sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      name: unique in the program.
      opcode: e.g. `all-gather`.
      shapes: arrays of the result, one unless it is a tuple.
      operands: names of the instructions it reads.
      text: everything after the opcode.
      is_root: whether it is the result of its computation.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    text: str
    is_root: bool

    @property
    def num_bytes(self) -> float:
        """Bytes of the result."""
        return sum(shape.num_bytes for shape in self.shapes)

    @functools.cached_property
    def called(self) -> dict[str, list[str]]:
        """Role (`calls`, `body`, ...) -> computations that it runs."""
        found: dict[str, list[str]] = collections.defaultdict(list)
        for role, name in _CALLED.findall(self.text):
            found[role].append(name)
        for names in _BRANCHES.findall(self.text):
            found["branches"] += [name.strip().lstrip("%") for name in names.split(",")]
        return dict(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """The computations of a compiled program.

    Attributes:
      computations: name -> its instructions by name, in order.
      entry: name of the first one.
    """

    computations: Mapping[str, Mapping[str, Instruction]]
    entry: str

    @functools.cached_property
    def runs(self) -> dict[str, float]:
        """Computation -> how often it runs in one call of the program; absent for never."""
        counts: dict[str, float] = collections.defaultdict(float)
        counts[self.entry] = 1.0
        for name in self._callers_first():
            for instruction in self.computations[name].values():
                trips = self.trip_count(instruction) or 1
                for role, names in instruction.called.items():
                    for callee in names:
                        factor = trips if role in ("body", "condition") else 1
                        counts[callee] += counts[name] * factor
        return dict(counts)

    @functools.cached_property
    def fused(self) -> frozenset[str]:
        """Computations that are part of one instruction: their arrays never lie in memory."""
        return frozenset(
            callee
            for _, instruction in self.instructions()
            if instruction.opcode not in ("while", "conditional", "call", "async-start")
            for names in instruction.called.values()
            for callee in names
        )

    @functools.cached_property
    def unknown_loops(self) -> tuple[str, ...]:
        """Loops whose number of rounds the text does not tell."""
        return tuple(
            instruction.name
            for _, instruction in self.instructions()
            if instruction.opcode == "while" and self.trip_count(instruction) is None
        )

    def instructions(self) -> Iterator[tuple[str, Instruction]]:
        """Yields (computation, instruction)."""
        for name, instructions in self.computations.items():
            for instruction in instructions.values():
                yield name, instruction

    def operands(self, computation: str, instruction: Instruction) -> list[Instruction]:
        """Returns the instructions whose results one reads."""
        own = self.computations[computation]
        return [own[name] for name in instruction.operands if name in own]

    def trip_count(self, instruction: Instruction) -> int | None:
        """Returns the rounds of a loop; None where they depend on data."""
        if instruction.opcode != "while":
            return None
        known = _TRIP_COUNT.search(instruction.text)
        if known:
            return int(known.group(1))
        condition = self.computations[instruction.called["condition"][0]]
        root = next(i for i in condition.values() if i.is_root)
        limits = [_constant(condition[name]) for name in root.operands if name in condition]
        if root.opcode == "fusion":
            # A fused comparison: the only integer of the condition is its limit.
            limits = [_constant(i) for i in condition.values()]
        elif root.opcode != "compare" or "direction=LT" not in root.text:
            return None
        found = [limit for limit in limits if limit is not None]
        if len(found) != 1:
            return None
        body = self.computations[instruction.called["body"][0]]
        return math.ceil(found[0] / _step(body, _counter_index(condition)))

    def _callers_first(self) -> list[str]:
        order: list[str] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            if name in seen or name not in self.computations:
                return
            seen.add(name)
            for instruction in self.computations[name].values():
                for names in instruction.called.values():
                    for callee in names:
                        visit(callee)
            order.append(name)

        visit(self.entry)
        return order[::-1]


def parse_program(text: str) -> Program:
    """Returns the program whose text `jax.stages.Compiled.as_text` gives.

    Args:
      text: HLO after all passes.

    Raises:
      ValueError: there is no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = computations.setdefault(header.group(2), {})
            entry = header.group(2) if header.group(1) else entry
        elif current is not None and (begin := _INSTRUCTION.match(line)):
            instruction = _parse_instruction(line, begin)
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("the text has no ENTRY computation")
    return Program(computations=computations, entry=entry)


def _parse_instruction(line: str, begin: re.Match) -> Instruction:
    rest = line[begin.end() - 1 :]
    result, opcode, text = _split_opcode(rest)
    inside, _ = _split_parenthesis(text)
    return Instruction(
        name=begin.group(2),
        opcode=opcode,
        shapes=parse_shapes(result),
        operands=tuple(_NAME.findall(inside)),
        text=text,
        is_root=bool(begin.group(1)),
    )


def _split_opcode(rest: str) -> tuple[str, str, str]:
    """Returns the shape of the result, the opcode, and what follows its parenthesis."""
    start = 0
    if rest.startswith(" ("):
        # A tuple: its shapes may hold layouts that look like calls, `T(8,128)`.
        inside, _ = _split_parenthesis(rest[2:])
        start = 2 + len(inside)
    found = _OPCODE.search(rest, start)
    if found is None:
        return rest, "", ""
    return rest[: found.start()], found.group(1), rest[found.end() :]


def _split_parenthesis(text: str) -> tuple[str, str]:
    """Cuts `text`, which follows an opening parenthesis, at the one that closes it."""
    depth = 1
    for i, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth:
            return text[:i], text[i + 1 :]
    return text, ""


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Returns the arrays that a shape names.

    >>> [shape.num_bytes for shape in parse_shapes("(bf16[4,8]{1,0:T(8,128)}, s32[])")]
    [64, 4]
    """
    return tuple(
        Shape(dtype, tuple(int(size) for size in sizes.split(",") if size))
        for dtype, sizes in _SHAPE.findall(text)
    )


def group_members(text: str, num_devices: int) -> Sequence[Sequence[int]]:
    """Returns the groups of devices that take part in a collective instruction together.

    Args:
      text: of the instruction; `replica_groups` in any of the three ways that XLA writes them,
        `source_target_pairs` of a permutation, or neither: all devices.
      num_devices: devices of the program.

    Returns:
      Positions of devices in the mesh, group by group.
    """
    pairs = re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", text)
    if pairs:
        return _listed(pairs.group(1))
    listed = re.search(r"replica_groups=\{((?:\{[\d,]+\},?)+)\}", text)
    if listed:
        return _listed(listed.group(1))
    tiled = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if tiled:
        shape, order = _integers(tiled.group(1)), _integers(tiled.group(2))
        turned = _integers(tiled.group(3)) if tiled.group(3) else list(range(len(order)))
        return _reshape(_transpose(order, turned), math.prod(shape[1:]))
    named = _NAMED_GROUPS.search(text)
    if named:
        return _named_groups(*named.groups(default=""))
    if "replica_groups=" in text and "replica_groups={}" not in text:
        raise ValueError(f"cannot read the groups of devices in {text[:200]!r}")
    return [list(range(num_devices))]


def _named_groups(mesh: str, order: str, turned: str, chosen: str) -> list[list[int]]:
    """Returns the groups over some axes of a mesh, `'a'=4,'b'=2` and `'a','b':(1)2`.

    `'b':(p)n` is a part of an axis: p parts before it, n of it. The mesh holds the devices in their
    order, or as the transpose `turned` of an array of sizes `order`.
    """
    wanted = {
        name: (int(before or 1), int(size or 0))
        for name, before, size in re.findall(r"'([\w.]+)'(?::\((\d+)\)(\d+))?", chosen)
    }
    sizes: list[int] = []
    inner: list[int] = []
    for name, size in re.findall(r"'([\w.]+)'=(\d+)", mesh):
        before, part = wanted.get(name, (int(size), 1))
        part = part or int(size)
        if name in wanted:
            inner.append(len(sizes) + 1)
        sizes += [before, part, int(size) // (before * part)]
    outer = [i for i in range(len(sizes)) if i not in inner]
    groups = _reshape(_transpose(sizes, outer + inner), math.prod(sizes[i] for i in inner))
    if not order:
        return groups
    axes = _integers(turned) if turned else list(range(len(_integers(order))))
    devices = _transpose(_integers(order), axes)
    return [[devices[position] for position in group] for group in groups]


def _constant(instruction: Instruction) -> int | None:
    """Returns the value of an integer constant."""
    if instruction.opcode != "constant":
        return None
    found = re.match(r"(\d+)\)", instruction.text)
    return int(found.group(1)) if found else None


def _counter_index(condition: Mapping[str, Instruction]) -> int:
    """Returns the place of a loop's counter in the tuple that it carries."""
    places = [i for i in condition.values() if i.opcode == "get-tuple-element"]
    found = re.search(r"index=(\d+)", places[0].text) if len(places) == 1 else None
    return int(found.group(1)) if found else 0


def _step(body: Mapping[str, Instruction], index: int) -> int:
    """Returns what a round adds to the counter: more than 1 where the compiler joined rounds."""
    root = next(i for i in body.values() if i.is_root)
    name, step = (root.operands[index] if index < len(root.operands) else ""), 0
    while name in body and body[name].opcode in ("add", "copy", "bitcast"):
        operands = [body[operand] for operand in body[name].operands if operand in body]
        step += sum(_constant(operand) or 0 for operand in operands)
        rest = [operand.name for operand in operands if operand.opcode != "constant"]
        name = rest[0] if len(rest) == 1 else ""
    return step or 1


def _listed(text: str) -> list[list[int]]:
    return [_integers(group) for group in re.findall(r"\{([\d,]+)\}", text)]


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _transpose(sizes: Sequence[int], order: Sequence[int]) -> list[int]:
    """Returns 0, 1, ... laid out as an array of `sizes`, read with its axes in `order`."""
    return list(np.arange(math.prod(sizes)).reshape(sizes).transpose(order).ravel().tolist())


def _reshape(flat: Sequence[int], size: int) -> list[list[int]]:
    return [list(flat[i : i + size]) for i in range(0, len(flat), size)]
