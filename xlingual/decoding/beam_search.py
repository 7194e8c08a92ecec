"""Beam search: the best hypotheses of a width, with length penalty and three ways to stop.

Token for token what `generate` of transformers 5 writes. A hypothesis that ends counts if its last
token is among the `num_beams` best candidates of a step; its score is the sum of its tokens' log
probabilities over `length ** length_penalty`, EOS counted. Encoder states are shared by the beams.

References:
  Wu et al., 2016, "Google's Neural Machine Translation System", arXiv:1609.08144, section 7, with
  the plain power of the length as penalty; Kasai et al., 2022, "A Call for Clarity in Beam Search",
  arXiv:2204.05424 (when to stop).
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from xlingual.decoding.candidates import Candidates, best_candidates
from xlingual.decoding.constraints import Constraint, advance_state, start_state
from xlingual.decoding.token_loop import PAD_ID
from xlingual.models.base import Model
from xlingual.models.cache import take_copies
from xlingual.types import Array, Batch, PyTree

EARLY_STOPPING = (False, True, "never")


@flax.struct.dataclass
class Hypotheses:
    """The best hypotheses of each row, best first.

    Attributes:
      tokens: [batch, n, max_length] int32, EOS included when reached, PAD after it.
      scores: [batch, n] float32, sum of log probabilities over `length ** length_penalty`; -inf
        where there is no such hypothesis, and its tokens are PAD.
    """

    tokens: Array
    scores: Array


@flax.struct.dataclass
class _Search:
    """State of the loop.

    Attributes:
      step: [] int32, tokens written so far.
      live: hypotheses that go on, [batch, beams, ...]; their scores are plain sums.
      ended: hypotheses that have ended; a score of -inf is a free place.
      open: [batch] bool, whether a live hypothesis might still beat an ended one.
      cache: the model's cache before the newest tokens are appended, [batch * beams] rows.
      allowed: state of the constraint, or None.
    """

    step: Array
    live: Hypotheses
    ended: Hypotheses
    open: Array
    cache: Any
    allowed: PyTree


def beam_search(
    model: Model,
    params: PyTree,
    batch: Batch,
    *,
    max_length: int,
    num_beams: int,
    num_return: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
    eos_id: int = 1,
    constraint: Constraint | None = None,
) -> Hypotheses:
    """Returns the best hypotheses that a search of limited width finds.

    Traceable under `jax.jit` with all but `params`, `batch` and `constraint` static. The loop stops
    as soon as no row can change its result.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: decoding features of the model's family.
      max_length: tokens to write at most, at least 1; what has not ended by then ends there.
      num_beams: width of the search, at least 1.
      num_return: hypotheses to return of each row, 1 to `num_beams`.
      length_penalty: exponent of the length; above 0 favours long hypotheses.
      early_stopping: True stops a row once `num_beams` hypotheses have ended; False once the best
        live one, if it ended now, would be worse than all of them; "never" once it would be even
        if it got no worse until `max_length` (for a positive length penalty, else as False).
      eos_id: id that ends a row.
      constraint: what rows may write, or None. With fewer possible continuations than `num_beams`
        there are fewer hypotheses.

    Returns:
      `tokens` [batch, num_return, max_length] and `scores` [batch, num_return].

    Raises:
      ValueError: a setting is out of range.
    """
    check_search(max_length, num_beams, num_return, early_stopping)
    # As many digits as transformers has: float64 powers, rounded once. No hypothesis has length 0.
    penalties = np.maximum(np.arange(max_length + 1), 1).astype(np.float64) ** length_penalty
    rules = _Rules(
        max_length=max_length,
        eos_id=eos_id,
        early_stopping=early_stopping,
        penalties=penalties.astype(np.float32),
        patient=early_stopping == "never" and length_penalty > 0.0,
    )
    params = model.serving_params(params)
    logits, cache = model.start_decoding(params, batch, max_length=max_length)
    if logits.shape[-1] < 2 * num_beams:
        raise ValueError(
            f"num_beams={num_beams}; expected at most half of the {logits.shape[-1]} tokens"
        )
    params = model.step_params(params)
    start = _first_step(model, rules, logits, cache, constraint, num_beams)

    def body(search: _Search) -> _Search:
        return _next_step(model, params, rules, search, constraint)

    def unfinished(search: _Search) -> Array:
        return (search.step < max_length) & rules.some_open(search.ended, search.open)

    ended = jax.lax.while_loop(unfinished, body, start).ended
    return Hypotheses(tokens=ended.tokens[:, :num_return], scores=ended.scores[:, :num_return])


def _first_step(
    model: Model,
    rules: "_Rules",
    logits: Array,
    cache: Any,
    constraint: Constraint | None,
    num_beams: int,
) -> _Search:
    """The search after the first token: one hypothesis a row becomes `num_beams`."""
    rows = logits.shape[0]
    allowed = start_state(constraint)
    scores = jnp.zeros((rows, 1), jnp.float32)
    found = best_candidates(logits, scores, constraint, allowed, count=2 * num_beams)
    nothing = Hypotheses(
        tokens=jnp.full((rows, num_beams, rules.max_length), PAD_ID, jnp.int32),
        scores=jnp.full((rows, num_beams), -jnp.inf, jnp.float32),
    )
    blank = Hypotheses(tokens=nothing.tokens[:, :1], scores=scores)
    everyone = jnp.ones((rows,), bool)
    live, ended, opened, _ = rules.advance(found, blank, nothing, everyone, jnp.int32(0))
    allowed = jax.tree.map(lambda leaf: jnp.repeat(leaf, num_beams, axis=0), allowed)
    return _Search(
        step=jnp.int32(1),
        live=live,
        ended=ended,
        open=opened,
        cache=model.repeat_rows(cache, num_beams),
        allowed=advance_state(constraint, allowed, live.tokens[:, :, 0].reshape(-1)),
    )


def _next_step(
    model: Model, params: PyTree, rules: "_Rules", search: _Search, constraint: Constraint | None
) -> _Search:
    """The search after one more token."""
    step = search.step
    last = jax.lax.dynamic_index_in_dim(search.live.tokens, step - 1, 2, keepdims=False)
    logits, cache = model.decode_step(params, search.cache, last.reshape(-1))
    count = 2 * last.shape[1]
    found = best_candidates(logits, search.live.scores, constraint, search.allowed, count=count)
    live, ended, opened, parents = rules.advance(
        found, search.live, search.ended, search.open, step
    )
    allowed = jax.tree.map(lambda leaf: take_copies(leaf, parents), search.allowed)
    new = jax.lax.dynamic_index_in_dim(live.tokens, step, 2, keepdims=False)
    return _Search(
        step=step + 1,
        live=live,
        ended=ended,
        open=opened,
        cache=model.gather_rows(cache, parents),
        allowed=advance_state(constraint, allowed, new.reshape(-1)),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Rules:
    """What ends a hypothesis and a search.

    Attributes:
      max_length: see `beam_search`.
      eos_id: see `beam_search`.
      early_stopping: see `beam_search`.
      penalties: [max_length + 1] float32, by which the sum of a hypothesis of each length is
        divided.
      patient: whether live hypotheses are compared at their longest.
    """

    max_length: int
    eos_id: int
    early_stopping: bool | str
    penalties: np.ndarray
    patient: bool

    def advance(
        self, found: Candidates, live: Hypotheses, ended: Hypotheses, opened: Array, step: Array
    ) -> tuple[Hypotheses, Hypotheses, Array, Array]:
        """Sorts candidates into live and ended hypotheses.

        Args:
          found: the candidates, best first, [batch, 2 * beams].
          live: what they continue, [batch, 1 or beams].
          ended: what ended before, [batch, beams].
          opened: [batch] bool, rows that still count.
          step: [] int32, tokens of `live`.

        Returns:
          live hypotheses, ended ones, rows that still count, and the [batch, beams] int32 index in
          `live` of what each live hypothesis continues.
        """
        num_beams = ended.scores.shape[1]
        ends = (found.tokens == self.eos_id) | (step + 1 == self.max_length)
        scores, chosen = jax.lax.top_k(jnp.where(ends, -jnp.inf, found.scores), num_beams)
        parents = jnp.take_along_axis(found.parents, chosen, axis=1)
        new_tokens = jnp.take_along_axis(found.tokens, chosen, axis=1)
        next_live = Hypotheses(
            tokens=_extended(live.tokens, parents, new_tokens, step), scores=scores
        )
        counts = ends & opened[:, None]
        counts &= (jnp.arange(found.tokens.shape[1]) < num_beams)[None, :]
        if self.early_stopping is True:
            counts &= ~_is_full(ended)[:, None]
        penalties = jnp.asarray(self.penalties)
        new_scores = jnp.where(counts, found.scores / penalties[step + 1], -jnp.inf)
        best, places = jax.lax.top_k(jnp.concatenate([ended.scores, new_scores], axis=1), num_beams)
        # Of the candidates only those that are taken are written out.
        index = jnp.maximum(places - num_beams, 0)
        continued = _extended(
            live.tokens,
            jnp.take_along_axis(found.parents, index, axis=1),
            jnp.take_along_axis(found.tokens, index, axis=1),
            step,
        )
        kept = _take(ended.tokens, jnp.minimum(places, num_beams - 1))
        tokens = jnp.where((places < num_beams)[:, :, None], kept, continued)
        tokens = jnp.where(jnp.isneginf(best)[:, :, None], PAD_ID, tokens)
        next_ended = Hypotheses(tokens=tokens, scores=best)
        length = self.max_length if self.patient else step + 1
        improves = scores[:, 0] / penalties[length] > best[:, -1]
        return next_live, next_ended, opened & improves, parents

    def some_open(self, ended: Hypotheses, opened: Array) -> Array:
        """Returns whether the result of a row can still change, [] bool."""
        if self.early_stopping is True:
            opened &= ~_is_full(ended)
        return jnp.any(opened)


def check_search(
    max_length: int, num_beams: int, num_return: int, early_stopping: bool | str
) -> None:
    """Checks the settings of a search.

    Raises:
      ValueError: a number is below 1, more hypotheses are wanted than beams are there, or the way
        to stop is unknown.
    """
    if min(max_length, num_beams) < 1:
        raise ValueError(f"max_length={max_length}, num_beams={num_beams}; expected at least 1")
    if not 1 <= num_return <= num_beams:
        raise ValueError(f"num_return={num_return}; expected 1 to num_beams={num_beams}")
    if early_stopping not in EARLY_STOPPING:
        raise ValueError(f"early_stopping={early_stopping!r}; expected one of {EARLY_STOPPING}")


def _is_full(ended: Hypotheses) -> Array:
    """Whether as many hypotheses have ended as there are beams, [batch] bool."""
    return ~jnp.isneginf(ended.scores[:, -1])


def _take(tokens: Array, index: Array) -> Array:
    """Rows `index` [batch, n] of [batch, beams, length]."""
    return jnp.take_along_axis(tokens, index[:, :, None], axis=1)


def _extended(tokens: Array, parents: Array, new: Array, step: Array) -> Array:
    """The rows `parents` of `tokens` with `new` [batch, n] written at `step`."""
    return jax.lax.dynamic_update_slice_in_dim(_take(tokens, parents), new[:, :, None], step, 2)
