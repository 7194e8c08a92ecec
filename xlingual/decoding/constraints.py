"""What the tokens of each row must be: a forced prefix, or one of a set of continuations.

A constraint is a tree of arrays, so that requests with other prefixes or sets of similar size run
the same compiled program. Its state has one entry a row, so that a beam takes it along.

References:
  Hokamp and Liu, 2017, ACL, "Lexically Constrained Decoding"; tries as in De Cao et al., 2021,
  "Autoregressive Entity Retrieval", arXiv:2010.00904, section 3.2.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from xlingual.types import Array, PyTree


class Constraint(Protocol):
    """Which tokens may follow in each row."""

    def start(self) -> PyTree:
        """Returns the state before the first token; every array has axis 0 `batch`."""

    def allowed(self, state: PyTree, vocab_size: int) -> Array:
        """Returns which tokens may come next, [rows, vocab] bool."""

    def advance(self, state: PyTree, tokens: Array) -> PyTree:
        """Returns the state after `tokens` [rows] int32; what ended rows get does not matter."""


@flax.struct.dataclass
class ForcedPrefix:
    """Every row begins with tokens of its own and goes on freely.

    Attributes:
      tokens: [batch, n] int32; what stands behind a row's prefix is not read.
      lengths: [batch] int32 in [0, n], tokens of each prefix.
    """

    tokens: Array
    lengths: Array

    def start(self) -> PyTree:
        """Returns tokens still to be written, and how many: ([batch, n], [batch]) int32."""
        return self.tokens, self.lengths

    def allowed(self, state: PyTree, vocab_size: int) -> Array:
        """Returns which tokens may come next, [rows, vocab] bool."""
        tokens, left = state
        forced = tokens[:, :1] == jnp.arange(vocab_size, dtype=jnp.int32)[None, :]
        return forced | (left == 0)[:, None]

    def advance(self, state: PyTree, tokens: Array) -> PyTree:
        """Returns the state after one more token a row."""
        del tokens
        ahead, left = state
        return jnp.roll(ahead, -1, axis=1), jnp.maximum(left - 1, 0)


@flax.struct.dataclass
class AllowedContinuations:
    """Every row writes one of a set of continuations and ends.

    The sets are tries in one table of edges; `make_allowed` builds it.

    Attributes:
      roots: [batch] int32, node at which each row begins.
      first_edge: [nodes + 1] int32; the edges of node i are first_edge[i] .. first_edge[i + 1].
      edge_tokens: [edges] int32.
      edge_ends: [edges] int32, the node behind each edge.
      dead_end: [] int32, a node without edges.
      fan_out: edges of a node at most; static.
    """

    roots: Array
    first_edge: Array
    edge_tokens: Array
    edge_ends: Array
    dead_end: Array
    fan_out: int = flax.struct.field(pytree_node=False)

    def start(self) -> PyTree:
        """Returns the node of each row, [batch] int32."""
        return self.roots

    def allowed(self, state: PyTree, vocab_size: int) -> Array:
        """Returns which tokens may come next, [rows, vocab] bool."""
        edges, exists = self._edges(state)
        tokens = jnp.where(exists, self.edge_tokens[edges], vocab_size)
        rows = jnp.arange(tokens.shape[0], dtype=jnp.int32)[:, None]
        none = jnp.zeros((tokens.shape[0], vocab_size), bool)
        return none.at[rows, tokens].set(True, mode="drop")

    def advance(self, state: PyTree, tokens: Array) -> PyTree:
        """Returns the node behind each row's token, the dead end where no edge has it."""
        edges, exists = self._edges(state)
        taken = exists & (self.edge_tokens[edges] == tokens[:, None])
        ends = jnp.where(taken, self.edge_ends[edges], -1).max(axis=1)
        return jnp.where(ends < 0, self.dead_end, ends)

    def _edges(self, nodes: Array) -> tuple[Array, Array]:
        """Indices of the edges of each node and which are there, both [rows, fan_out]."""
        first, last = self.first_edge[nodes], self.first_edge[nodes + 1]
        edges = first[:, None] + jnp.arange(self.fan_out, dtype=jnp.int32)[None, :]
        exists = edges < last[:, None]
        return jnp.where(exists, edges, 0), exists


def make_forced_prefix(prefixes: Sequence[Sequence[int]]) -> ForcedPrefix:
    """Returns the constraint that row i begins with `prefixes[i]`, which may be empty.

    Args:
      prefixes: token ids of each row. The width of the table is a power of two, so that prefixes
        of similar length share a program.
    """
    lengths = np.asarray([len(prefix) for prefix in prefixes], np.int32)
    tokens = np.zeros((len(prefixes), _power_of_two(int(lengths.max(initial=1)))), np.int32)
    for row, prefix in zip(tokens, prefixes, strict=True):
        row[: len(prefix)] = prefix
    return ForcedPrefix(tokens=tokens, lengths=lengths)  # type: ignore[arg-type]


def make_allowed(
    sets: Sequence[Sequence[Sequence[int]]], set_of_row: Sequence[int], *, eos_id: int = 1
) -> AllowedContinuations:
    """Returns the constraint that row i writes one of `sets[set_of_row[i]]` and then EOS.

    Args:
      sets: for each set, the token ids of its continuations, without EOS.
      set_of_row: index of each row's set.
      eos_id: id that ends a row.

    Raises:
      ValueError: a set is empty, or a continuation holds EOS.

    Two continuations `5 6` and `5`, with EOS = 1, give the nodes and edges

        0 -5-> 1,  1 -6-> 2,  1 -1-> dead end,  2 -1-> dead end
    """
    children: list[dict[int, int]] = [{}]
    roots = []
    for number, continuations in enumerate(sets):
        if not continuations:
            raise ValueError(f"set {number} of allowed continuations is empty; expected some")
        roots.append(_new_node(children))
        for tokens in continuations:
            if eos_id in tokens:
                raise ValueError(f"continuation {list(tokens)} holds EOS ({eos_id})")
            node = roots[-1]
            for token in tokens:
                if token not in children[node]:
                    children[node][token] = _new_node(children)
                node = children[node][token]
            children[node][eos_id] = 0
    counts = [len(edges) for edges in children]
    pairs = [edge for edges in children for edge in sorted(edges.items())]
    num_nodes, num_edges = _power_of_two(len(children)), _power_of_two(len(pairs))
    first_edge = np.full((num_nodes + 1,), len(pairs), np.int32)
    first_edge[: len(counts) + 1] = np.cumsum([0, *counts])
    table = np.zeros((2, num_edges), np.int32)
    table[:, : len(pairs)] = np.asarray(pairs, np.int32).T
    arrays: dict[str, Any] = {
        "roots": np.asarray([roots[i] for i in set_of_row], np.int32),
        "first_edge": first_edge,
        "edge_tokens": table[0],
        "edge_ends": table[1],
        "dead_end": np.int32(0),
    }
    return AllowedContinuations(**arrays, fan_out=_power_of_two(max(counts)))


def mask_logits(logits: Array, constraint: Constraint | None, state: PyTree) -> Array:
    """Returns [rows, vocab] float32 logits, -inf for what a constraint forbids."""
    if constraint is None:
        return logits
    return jnp.where(constraint.allowed(state, logits.shape[-1]), logits, -jnp.inf)


def start_state(constraint: Constraint | None) -> PyTree:
    """Returns the state of a constraint before the first token; None without one."""
    return None if constraint is None else jax.tree.map(jnp.asarray, constraint.start())


def advance_state(constraint: Constraint | None, state: PyTree, tokens: Array) -> PyTree:
    """Returns the state after `tokens` [rows] int32; None without a constraint."""
    return None if constraint is None else constraint.advance(state, tokens)


def _new_node(children: list[dict[int, int]]) -> int:
    children.append({})
    return len(children) - 1


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()
