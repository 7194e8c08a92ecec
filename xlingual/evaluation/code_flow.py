"""Flow of data in Python as the package codebleu reads it off tree-sitter's trees.

Every token that is no keyword or operator counts: variables, but also names of functions and
attributes, and literals. A token comes from the places where it was written last; what stands left
of an assignment is computed from all tokens on its right. Branches of an `if` are joined, and loops
are walked twice. Then tokens that nothing flows into or out of are left out.

Two things differ from the package. Where it takes origins from a set, whose order changes from
process to process, here they stay in the order in which they were found. And it takes the columns
of tree-sitter, which count bytes, for columns of characters, so that it reads other names behind
letters that are not ASCII.

References:
  Ren et al., 2020, "CodeBLEU: a Method for Automatic Evaluation of Code Synthesis",
  arXiv:2009.10297, section 3.3.
"""

import dataclasses
import io
import tokenize
from collections.abc import Iterable, Sequence
from typing import Any

from xlingual.evaluation.code_trees import Edge, tree_sitter_root

_FROM, _COMPUTED = "comesFrom", "computedFrom"
_Known = dict[str, tuple[int, ...]]
"""Name -> places of the tokens that wrote it last."""


@dataclasses.dataclass(frozen=True)
class _Use:
    """A token, and the tokens that its value is from.

    Attributes:
      name: its text.
      place: its number in the program.
      relation: `comesFrom` or `computedFrom`.
      origins: texts of the tokens it is from.
      places: their numbers.
    """

    name: str
    place: int
    relation: str
    origins: tuple[str, ...] = ()
    places: tuple[int, ...] = ()

    def and_from(self, other: "_Use") -> "_Use":
        """Returns the use with the origins of both, each once."""
        return dataclasses.replace(
            self,
            origins=tuple(dict.fromkeys((*self.origins, *other.origins))),
            places=tuple(sorted({*self.places, *other.places})),
        )


def data_flow(text: str) -> list[Edge]:
    """Returns where the values of a Python program's tokens come from, names normalised.

    Code that cannot be parsed has the flow of the parts that can.

    Raises:
      ConfigError: tree-sitter or its grammar of Python is not installed.
    """
    root: Any = tree_sitter_root(without_comments(text), "python")
    walker = _Walker(root)
    try:
        uses, _ = walker.walk(root, {})
    except LookupError:  # a part of a statement is missing
        uses = []
    uses = sorted(uses, key=lambda use: use.place)
    alive = {use.place for use in uses if use.origins}.union(*(use.places for use in uses))
    by_place: dict[int, _Use] = {}
    for use in uses:
        if use.place in alive:
            first = by_place.get(use.place)
            by_place[use.place] = use if first is None else first.and_from(use)
    numbers: dict[str, str] = {}
    edges: list[Edge] = []
    for use in by_place.values():
        origins = tuple(numbers.setdefault(name, f"var_{len(numbers)}") for name in use.origins)
        edges.append((numbers.setdefault(use.name, f"var_{len(numbers)}"), use.relation, origins))
    return edges


def without_comments(text: str) -> str:
    """Returns a program without comments and without strings that begin a statement.

    Text that Python cannot cut into tokens comes back as it is.
    """
    lines = text.splitlines(keepends=True)
    cut: list[tuple[tuple[int, int], tuple[int, int]]] = []
    before = tokenize.INDENT
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            begins = before in (tokenize.INDENT, tokenize.NEWLINE) or token.start[1] == 0
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and begins):
                cut.append((token.start, token.end))
            before = token.type
    except (tokenize.TokenError, SyntaxError):
        return text
    for (row, column), (last, end) in reversed(cut):
        lines[row - 1 : last] = [lines[row - 1][:column] + lines[last - 1][end:]]
    return "".join(line for line in lines if line.strip())


class _Walker:
    """Finds the uses of a program in the order in which they are read."""

    def __init__(self, root: Any) -> None:
        self._places = {_span(leaf): place for place, leaf in enumerate(_leaves(root))}
        self._rules = {
            "default_parameter": self._default,
            "assignment": self._assign,
            "augmented_assignment": self._assign,
            "for_in_clause": self._assign,
            "if_statement": self._branch,
            "for_statement": self._for,
            "while_statement": self._while,
        }

    def walk(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        """Returns the uses of a node, and what is known behind it.

        Raises:
          LookupError: a statement lacks a part, as where the code has an error.
        """
        if _is_leaf(node):
            return self._leaf(node, known)
        uses, known = self._rules.get(node.type, self._children)(node, known)
        return sorted(uses, key=lambda use: use.place), known

    def _leaf(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        name, place = _text(node), self._places[_span(node)]
        if node.type == name:
            return [], known
        if name in known:
            return [_Use(name, place, _FROM, (name,), known[name])], known
        if node.type == "identifier":
            known = {**known, name: (place,)}
        return [_Use(name, place, _FROM)], known

    def _children(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        clauses = [child for child in node.children if child.type == "for_in_clause"]
        others = [child for child in node.children if child.type != "for_in_clause"]
        return self._in_turn([*clauses, *others], known)

    def _in_turn(self, nodes: Iterable[Any], known: _Known) -> tuple[list[_Use], _Known]:
        uses: list[_Use] = []
        for node in nodes:
            more, known = self.walk(node, known)
            uses += more
        return uses, known

    def _default(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        value = _field(node, "value")
        uses, known = self.walk(value, known)
        for name, place in self._tokens(_field(node, "name")):
            uses += [_Use(name, place, _FROM, (n,), (p,)) for n, p in self._tokens(value)]
            known = {**known, name: (place,)}
        return uses, known

    def _assign(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        if node.type == "for_in_clause":
            sides: _Sides = ([_field(node, "left")], [node.children[-1]])
        elif node.child_by_field_name("right") is None:  # a declaration
            return [], known
        else:
            sides = _sides(node)
        uses, known = self._in_turn(sides[1], known)
        return self._compute(sides, uses, known)

    def _compute(
        self, sides: "_Sides", uses: list[_Use], known: _Known
    ) -> tuple[list[_Use], _Known]:
        """Adds the uses of targets, pair by pair."""
        for target, value in zip(*sides, strict=False):
            origins = self._tokens(value)
            for name, place in self._tokens(target):
                names, places = tuple(n for n, _ in origins), tuple(p for _, p in origins)
                uses = [*uses, _Use(name, place, _COMPUTED, names, places)]
                known = {**known, name: (place,)}
        return uses, known

    def _branch(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        uses: list[_Use] = []
        inside, ends = known, []
        for child in node.children:
            if child.type in ("elif_clause", "else_clause"):
                more, end = self.walk(child, known)
                ends.append(end)
            else:
                more, inside = self.walk(child, inside)
            uses += more
        ends.append(inside)
        if not any("else" in child.type for child in node.children):
            ends.append(known)
        joined: dict[str, set[int]] = {}
        for end in ends:
            for name, places in end.items():
                joined.setdefault(name, set()).update(places)
        return uses, {name: tuple(sorted(places)) for name, places in joined.items()}

    def _for(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        uses: list[_Use] = []
        sides = _sides(node)
        for _ in range(2):
            more, known = self._in_turn(sides[1], known)
            uses, known = self._compute(sides, [*uses, *more], known)
            if node.children[-1].type == "block":
                more, known = self.walk(node.children[-1], known)
                uses += more
        return _joined(uses), known

    def _while(self, node: Any, known: _Known) -> tuple[list[_Use], _Known]:
        uses, known = self._in_turn([*node.children, *node.children], known)
        return _joined(uses), known

    def _tokens(self, node: Any) -> list[tuple[str, int]]:
        """Returns text and place of the tokens below a node that are no keyword or operator."""
        return [
            (_text(leaf), self._places[_span(leaf)])
            for leaf in _leaves(node)
            if leaf.type != _text(leaf)
        ]


_Sides = tuple[Sequence[Any], Sequence[Any]]
"""Targets and values."""


def _sides(node: Any) -> _Sides:
    """Returns the parts of both sides that belong together; the sides as they are if none do."""
    left, right = _field(node, "left"), _field(node, "right")
    parts = [[c for c in side.children if c.type != ","] for side in (left, right)]
    if len(parts[0]) != len(parts[1]) or not parts[0]:
        return [left], [right]
    return parts[0], parts[1]


def _joined(uses: Sequence[_Use]) -> list[_Use]:
    """Returns the uses of both rounds of a loop, those of a token and relation as one."""
    found: dict[tuple[str, int, str], _Use] = {}
    for use in uses:
        key = (use.name, use.place, use.relation)
        found[key] = found[key].and_from(use) if key in found else use
    return list(found.values())


def _field(node: Any, name: str) -> Any:
    child = node.child_by_field_name(name)
    if child is None:
        raise LookupError(f"{node.type} without {name}")
    return child


def _is_leaf(node: Any) -> bool:
    return (not node.children or node.type == "string") and node.type != "comment"


def _leaves(node: Any) -> Iterable[Any]:
    if _is_leaf(node):
        yield node
    else:
        for child in node.children:
            yield from _leaves(child)


def _span(node: Any) -> tuple[int, int]:
    return node.start_byte, node.end_byte


def _text(node: Any) -> str:
    return str(node.text.decode("utf-8", "replace"))
