"""Continuous batching on the host: which request goes into which slot, and when."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.decoding.constraints import Constraint, start_state
from xlingual.decoding.sampling import row_keys
from xlingual.decoding.slots import fill, refill, run_steps
from xlingual.decoding.token_loop import Rows, Rule
from xlingual.evaluation.decoding_batches import BatchShapes, make_decoding_batch
from xlingual.models.base import Model
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import Array, Batch, PyTree

STEPS = 4
"""Steps between two looks of the host at which rows have ended."""


@dataclasses.dataclass
class _Work:
    """Progress of one list of requests.

    Attributes:
      pending: indices of the requests that wait, longest first.
      slots: index of the request in each slot; None for a free one.
      length: columns of the pool's sources or prompts.
      written: index -> what its rows have written so far, [steps, copies] each.
    """

    pending: collections.deque[int]
    slots: list[int | None]
    length: int
    written: list[list[np.ndarray]]

    @property
    def free(self) -> list[int]:
        """Slots without a request."""
        return [slot for slot, index in enumerate(self.slots) if index is None]

    def take(self, slots: Sequence[int]) -> list[int]:
        """Puts the next requests into slots and returns their indices."""
        taken = [self.pending.popleft() for _ in slots]
        for slot, index in zip(slots, taken, strict=True):
            self.slots[slot] = index
        return taken


class ContinuousDecoder:
    """Writes outputs in slots that are filled again as soon as a few of them have ended."""

    def __init__(
        self,
        model: Model,
        params: PyTree,
        partitioner: Partitioner,
        shapes: BatchShapes,
        rule: Rule,
    ) -> None:
        """Compiles nothing yet.

        Args:
          model: the model.
          params: unboxed parameters, placed by `partitioner`.
          partitioner: mesh and rules; every number of rows divides over it.
          shapes: the most rows are the slots of a pool, the fewest those that are refilled at once.
          rule: how tokens are chosen.
        """
        self._model, self._params, self._partitioner = model, params, partitioner
        self._shapes, self._rule = shapes, rule
        # Small arrays are whole on every device: no program depends on where they came from.
        whole = partitioner.replicated
        rows = Rows(last=whole, written=whole, ended=whole, keys=whole, cache=None, allowed=whole)  # type: ignore[arg-type]
        jit = partitioner.jit
        self._fill = jit(self._start_pool, out_shardings=(rows, whole))
        self._refill = jit(self._enter, donate_argnums=1, out_shardings=(rows, whole))
        self._run = jit(self._steps, donate_argnums=1, out_shardings=(rows, whole, whole))
        self._cut = jit(self._shorten, static_argnums=1, out_shardings=rows)
        self._make_step_params = jit(model.step_params)
        self._step_params: PyTree = None

    @property
    def num_programs(self) -> int:
        """How many programs were compiled so far."""
        programs = (self._fill, self._refill, self._run, self._cut)
        return sum(program.jitted._cache_size() for program in programs)

    def __call__(
        self,
        inputs: Sequence[np.ndarray],
        numbers: Sequence[int],
        *,
        seed: int = 0,
        constraint: Constraint | None = None,
    ) -> list[np.ndarray]:
        """Returns what is written for each of the inputs, in their order.

        Args:
          inputs: arrays [n] int32, EOS included.
          numbers: of the examples; samples depend on them and on `seed`.
          seed: of random numbers.
          constraint: what may be written, its rows those of the inputs; or None.

        Returns:
          [copies, steps] int32 for each, PAD behind EOS.

        Raises:
          ValueError: inputs are empty or longer than the longest shape.
        """
        if not inputs:
            return []
        if self._step_params is None:
            self._step_params = self._make_step_params(self._params)
        allowed = jax.tree.map(np.asarray, jax.device_get(start_state(constraint)))

        def arguments(taken: Sequence[int], num_rows: int, length: int) -> tuple[Any, ...]:
            batch = make_decoding_batch(
                [inputs[i] for i in taken], batch_size=num_rows, length=length
            )
            rows = [taken[row % len(taken)] for row in range(num_rows)]
            mine = self._partitioner.host_rows(num_rows)
            features = {name: value[mine] for name, value in batch.items()}
            keys = np.asarray([numbers[i] for i in rows], np.int32), np.int32(seed)
            states = jax.tree.map(lambda leaf: leaf[np.asarray(rows)], allowed)
            return self._partitioner.shard_batch(features), keys, constraint, states

        order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
        num_slots, length = self._shapes.of(
            min(len(inputs), self._shapes.rows[-1]), len(inputs[order[0]])
        )
        work = _Work(
            pending=collections.deque(order),
            slots=[None] * num_slots,
            length=length,
            written=[[] for _ in inputs],
        )
        return self._finish(work, [len(ids) for ids in inputs], constraint, arguments)

    def _finish(
        self,
        work: _Work,
        sizes: Sequence[int],
        constraint: Constraint | None,
        arguments: Callable[..., tuple[Any, ...]],
    ) -> list[np.ndarray]:
        """Runs until every request is written."""
        num_slots, copies = len(work.slots), self._rule.copies
        taken = work.take(work.free[: len(work.pending)])
        filled = np.arange(num_slots) < len(taken)
        pool, first = self._fill(self._params, *arguments(taken, num_slots, work.length), filled)
        entered = [(taken, first)]
        while any(index is not None for index in work.slots):
            pool, tokens, ended = self._run(self._step_params, pool, constraint)
            entered, tokens, ended = jax.device_get((entered, tokens, ended))
            for taken, first in entered:
                for row, index in enumerate(taken):
                    work.written[index].append(first[None, row * copies : (row + 1) * copies])
            for slot, index in enumerate(work.slots):
                rows = slice(slot * copies, (slot + 1) * copies)
                if index is not None:
                    work.written[index].append(tokens[:, rows])
                    work.slots[slot] = None if ended[rows].all() else index
            pool, entered = self._next_pool(work, pool, sizes, arguments)
        return [np.concatenate(parts).T for parts in work.written]

    def _next_pool(
        self,
        work: _Work,
        pool: Rows,
        sizes: Sequence[int],
        arguments: Callable[..., tuple[Any, ...]],
    ) -> tuple[Rows, list[tuple[list[int], Array]]]:
        """The pool with new requests, a fixed number at once, and their first tokens."""
        at_once = min(self._shapes.rows[0], len(work.slots))
        entered = []
        while work.pending and len(work.free) >= min(at_once, len(work.pending)):
            active = [sizes[i] for i in work.slots if i is not None]
            longest = max([*active, sizes[work.pending[0]]])
            _, length = self._shapes.of(1, longest)
            if length < work.length:
                pool, work.length = self._cut(pool, length), length
            slots = work.free[: min(at_once, len(work.pending))]
            taken = work.take(slots)
            places = np.full((at_once,), len(work.slots), np.int32)
            places[: len(slots)] = slots
            given = arguments(taken, at_once, work.length)
            pool, first = self._refill(self._params, pool, *given, places)
            entered.append((taken, first))
        return pool, entered

    def _start_pool(
        self,
        params: PyTree,
        batch: Batch,
        numbers: tuple[Array, Array],
        constraint: Constraint | None,
        allowed: PyTree,
        filled: Array,
    ) -> tuple[Rows, Array]:
        pool = fill(
            self._model,
            params,
            batch,
            self._rule,
            keys=self._keys(numbers),
            constraint=constraint,
            allowed=allowed,
            filled=filled,
        )
        return pool, pool.last

    def _enter(
        self,
        params: PyTree,
        pool: Rows,
        batch: Batch,
        numbers: tuple[Array, Array],
        constraint: Constraint | None,
        allowed: PyTree,
        slots: Array,
    ) -> tuple[Rows, Array]:
        return refill(
            self._model,
            params,
            pool,
            batch,
            self._rule,
            keys=self._keys(numbers),
            constraint=constraint,
            allowed=allowed,
            slots=slots,
        )

    def _steps(
        self, params: PyTree, pool: Rows, constraint: Constraint | None
    ) -> tuple[Rows, Array, Array]:
        pool, tokens = run_steps(self._model, params, pool, self._rule, constraint, num_steps=STEPS)
        return pool, tokens, jnp.copy(pool.ended)

    def _shorten(self, pool: Rows, length: int) -> Rows:
        return dataclasses.replace(pool, cache=self._model.cut_source(pool.cache, length))

    def _keys(self, numbers: tuple[Array, Array]) -> Array:
        examples, seed = numbers
        return row_keys(seed, examples, self._rule.copies)
