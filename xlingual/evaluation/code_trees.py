"""Code as tokens, as syntax trees and as flow of data: what scores of code compare.

Python is parsed by the standard library. JavaScript needs tree-sitter and its grammar, and so does
Python where figures shall be those of other programs (`pip install tree-sitter
tree-sitter-javascript tree-sitter-python`).
"""

import ast
import collections
import functools
import importlib
import keyword
import re
import warnings
from collections.abc import Iterator, Sequence

from xlingual.errors import ConfigError

_TOKEN = re.compile(
    r"""[^\W\d]\w*|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
    r"|===|!==|\*\*=?|//=?|<<=?|>>=?|[-+*/%&|^<>=!]=|=>|->|&&|\|\||\+\+|--|\.\.\.|\S"
)
_JAVASCRIPT_KEYWORDS = (
    "await break case catch class const continue debugger default delete do else enum export "
    "extends false finally for function if implements import in instanceof interface let new null "
    "package private protected public return super switch static this throw try true typeof var "
    "void while with yield"
)
KEYWORDS = {
    "python": frozenset([*keyword.kwlist, "match", "case", "type"]),
    "javascript": frozenset(_JAVASCRIPT_KEYWORDS.split()),
}
"""Programming language -> its keywords."""
Edge = tuple[str, str, tuple[str, ...]]
"""A variable, `comesFrom` or `computedFrom`, and the variables that its value is from."""


def tokenize_code(text: str) -> list[str]:
    """Returns names, numbers, strings and operators; white space is none of them.

    >>> tokenize_code("total += x[1] ** 2")
    ['total', '+=', 'x', '[', '1', ']', '**', '2']
    """
    return _TOKEN.findall(text)


def has_parser(language: str) -> bool:
    """Returns whether code in a language can be parsed here."""
    return language == "python" or _grammar(language) is not None


def parses(text: str, language: str) -> bool:
    """Returns whether a text is code without a syntax error, and not empty.

    Raises:
      ConfigError: there is no parser of the language.
    """
    if not text.strip():
        return False
    if language == "python":
        return _python_tree(text) is not None
    return not tree_sitter_root(text, language).has_error


def subtrees(text: str, language: str, *, tree_sitter: bool = False) -> list[str]:
    """Returns every subtree of the code's syntax tree but its leaves, as text without names.

    Code that cannot be parsed has none under `ast`; tree-sitter has one for the parts that it can.

    Args:
      text: code.
      language: `python`, or one with a tree-sitter grammar.
      tree_sitter: whether to use tree-sitter for Python too.

    Raises:
      ConfigError: there is no parser of the language.
    """
    if language == "python" and not tree_sitter:
        tree = _python_tree(text)
        found: list[str] = []
        if tree is not None:
            _write(tree, found)
        return found
    root = tree_sitter_root(text, language)
    stack, found = [root], []
    while stack:
        node = stack.pop()
        found.append(str(node))
        stack += [child for child in node.children if child.children]
    return found


def data_flow(text: str) -> list[Edge] | None:
    """Returns where the values of a Python program's variables come from, names normalised.

    Variables are numbered in the order in which edges name them, so that renaming changes nothing
    (Ren et al., 2020, arXiv:2009.10297, section 3.3). Parameters and variables count, attributes
    and keywords do not. None if the code cannot be parsed.
    """
    tree = _python_tree(text)
    if tree is None:
        return None
    numbers: dict[str, str] = {}
    flow = _Flow()
    flow.visit(tree)
    edges: list[Edge] = []
    for variable, relation, origins in flow.edges:
        sources = tuple(numbers.setdefault(name, f"var_{len(numbers)}") for name in origins)
        edges.append((numbers.setdefault(variable, f"var_{len(numbers)}"), relation, sources))
    return edges


def overlap(found: Sequence[object], gold: Sequence[object]) -> int:
    """Returns how many items of `gold` are among `found`, each used once."""
    common = collections.Counter(found) & collections.Counter(gold)
    return sum(common.values())


class _Flow(ast.NodeVisitor):
    """Collects edges in the order in which the program computes."""

    def __init__(self) -> None:
        self.edges: list[tuple[str, str, tuple[str, ...]]] = []
        self._known: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in self._known:
            self.edges.append((node.id, "comesFrom", (node.id,)))
        self._known.add(node.id)

    def visit_arg(self, node: ast.arg) -> None:
        self._known.add(node.arg)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        self._assign(node.target, node.value, node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self._assign(node.target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._assign(node.target, node.value)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._assign(node.target, node.iter)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.visit(node.iter)
        self._assign(node.target, node.iter)
        for test in node.ifs:
            self.visit(test)

    def _comprehension(self, node: ast.AST) -> None:
        parts = list(ast.iter_child_nodes(node))
        for part in sorted(parts, key=lambda part: not isinstance(part, ast.comprehension)):
            self.visit(part)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _assign(self, target: ast.AST, *values: ast.AST) -> None:
        origins = tuple(name for value in values for name in _names(value))
        for name in _names(target):
            if origins:
                self.edges.append((name, "computedFrom", origins))
            self._known.add(name)


def _names(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _python_tree(text: str) -> ast.Module | None:
    """The tree of a program without its docstrings; None if it has a syntax error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in what a model wrote
            tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        documented = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        if isinstance(node, documented) and isinstance(body, list) and len(body) > 1:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:]
    return tree


def _write(node: ast.AST, found: list[str]) -> str:
    """Returns a subtree as text, and adds those with children to `found`."""
    contexts = ast.expr_context
    children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, contexts)]
    parts = [_write(child, found) for child in children]
    text = f"({' '.join([type(node).__name__, *parts])})"
    if parts or isinstance(node, ast.Module):
        found.append(text)
    return text


@functools.cache
def _grammar(language: str) -> object | None:
    """The parser of a language by tree-sitter; None where a package is missing."""
    try:
        package = importlib.import_module(f"tree_sitter_{language}")
        tree_sitter = importlib.import_module("tree_sitter")
    except ImportError:
        return None
    return tree_sitter.Parser(tree_sitter.Language(package.language()))


def tree_sitter_root(text: str, language: str) -> "_Node":
    """Returns the root of the syntax tree of a text.

    Raises:
      ConfigError: tree-sitter or its grammar of the language is not installed.
    """
    parser = _grammar(language)
    if parser is None:
        raise ConfigError(
            f"no parser of {language!r}; expected the packages tree-sitter and "
            f"tree-sitter-{language} (pip install)"
        )
    root: _Node = parser.parse(text.encode("utf-8")).root_node  # type: ignore[attr-defined]
    return root


class _Node:
    """What is used of tree-sitter's nodes."""

    children: Sequence["_Node"]
    has_error: bool
