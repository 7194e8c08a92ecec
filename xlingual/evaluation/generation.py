"""Generation for lists of requests: what `xlingual generate` runs, without files or text.

Greedy decoding and sampling fill the slots of a pool again as outputs end; a beam search keeps a
batch until all of it has ended. Shapes come from a fixed set, so a program is compiled for each
that occurs and never for a request; what is written for a request does not depend on its
neighbours.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.decoding.beam_search import beam_search, check_search
from xlingual.decoding.constraints import Constraint, make_allowed, make_forced_prefix
from xlingual.decoding.greedy import most_probable
from xlingual.decoding.sampling import check_warp, make_choose
from xlingual.decoding.token_loop import Choose, Rule
from xlingual.errors import ConfigError
from xlingual.evaluation.continuous import ContinuousDecoder
from xlingual.evaluation.decoding_batches import BatchShapes, decode_all
from xlingual.models.base import Model
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import Array, Batch, PyTree

MODES = ("greedy", "beam", "sample")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How to write.

    Attributes:
      mode: `greedy`, `beam` or `sample`.
      max_length: tokens to write at most, EOS included.
      num_beams: width of `beam`.
      n_best: outputs for each request: hypotheses of `beam`, samples of `sample`.
      length_penalty: of `beam`; see `decoding.beam_search`.
      early_stopping: of `beam`: False, True or "never".
      temperature: of `sample`; see `decoding.sampling`.
      top_k: of `sample`; 0 keeps all.
      top_p: of `sample`; 1 keeps all.
      seed: of `sample`.
      eos_id: id that ends an output.

    Raises:
      ConfigError: a setting is out of range, or the mode has no use for `n_best`.
    """

    mode: str = "greedy"
    max_length: int = 128
    num_beams: int = 4
    n_best: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    eos_id: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"mode={self.mode!r}; expected one of {', '.join(MODES)}")
        if self.mode == "greedy" and self.n_best != 1:
            raise ConfigError(f"n_best={self.n_best}; expected 1 with mode=greedy")
        if min(self.n_best, self.max_length) < 1:
            raise ConfigError(
                f"n_best={self.n_best}, max_length={self.max_length}; expected at least 1"
            )
        try:
            check_warp(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
            if self.mode == "beam":
                check_search(self.max_length, self.num_beams, self.n_best, self.early_stopping)
        except ValueError as error:
            raise ConfigError(str(error)) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One input.

    Attributes:
      inputs: [length] int32, EOS included.
      number: which example it is: samples depend on it and on the seed.
      forced_prefix: ids with which the outputs begin.
      allowed: ids of the outputs that are allowed, without EOS; None allows all.
    """

    inputs: np.ndarray
    number: int
    forced_prefix: Sequence[int] = ()
    allowed: Sequence[Sequence[int]] | None = None


@dataclasses.dataclass(frozen=True)
class Output:
    """What was written for a request.

    Attributes:
      tokens: [length] int32, EOS included when reached, no padding.
      score: log probability over `length ** length_penalty`; None outside of beam search.
    """

    tokens: np.ndarray
    score: float | None


class Generator:
    """Writes outputs for requests with fixed parameters and options."""

    def __init__(
        self,
        model: Model,
        params: PyTree,
        partitioner: Partitioner,
        options: GenerationOptions,
        shapes: BatchShapes,
    ) -> None:
        """Checks the settings; nothing is compiled yet.

        Args:
          model: the model.
          params: unboxed parameters, placed by `partitioner`.
          partitioner: mesh and rules.
          options: how to write.
          shapes: of the batches.

        Raises:
          ConfigError: a number of rows does not divide over the mesh, or there are more beams than
            half of the vocabulary.
        """
        for rows in shapes.rows:
            partitioner.check_batch_size(rows)
        if options.mode == "beam" and 2 * options.num_beams > model.vocab_size:
            raise ConfigError(
                f"num_beams={options.num_beams}; expected at most half of the "
                f"{model.vocab_size} tokens"
            )
        params = partitioner.jit(model.serving_params)(params)
        self._model, self._params, self._partitioner = model, params, partitioner
        self._options, self._shapes = options, shapes
        self._search = partitioner.jit(self._beam_search, out_shardings=partitioner.replicated)
        self._decode = ContinuousDecoder(model, params, partitioner, shapes, _rule(options))

    def __call__(self, requests: Sequence[Request]) -> list[list[Output]]:
        """Returns the outputs of each request, best first, in the order of the requests.

        Raises:
          ValueError: inputs are empty or longer than the longest shape, or a set of allowed
            outputs is empty or longer than `max_length`.
        """
        if self._options.mode != "beam":
            return self._written(requests)

        def decode(batch: Batch, rows: Sequence[int]) -> Any:
            return self._search(self._params, batch, self._constraint([requests[i] for i in rows]))

        written = decode_all(
            [request.inputs for request in requests],
            decode,
            partitioner=self._partitioner,
            shapes=self._shapes,
        )
        return [
            [
                Output(self._cut(tokens), float(score))
                for tokens, score in zip(found["tokens"], found["scores"], strict=True)
                if not np.isneginf(score)
            ]
            for found in written
        ]

    @property
    def num_programs(self) -> int:
        """How many programs were compiled so far."""
        return self._search.jitted._cache_size() + self._decode.num_programs

    def _written(self, requests: Sequence[Request]) -> list[list[Output]]:
        """The outputs of requests, each begun as soon as there is room."""
        # Of the constraint's arrays the sizes are powers of two, the number of rows among them.
        filler = [requests[-1]] * ((1 << (len(requests) - 1).bit_length()) - len(requests))
        written = self._decode(
            [request.inputs for request in requests],
            [request.number for request in requests],
            seed=self._options.seed,
            constraint=self._constraint([*requests, *filler]),
        )
        return [
            [Output(self._cut(tokens[: self._options.max_length]), None) for tokens in rows]
            for rows in written
        ]

    def _cut(self, tokens: np.ndarray) -> np.ndarray:
        ends = np.flatnonzero(tokens == self._options.eos_id)
        return tokens[: ends[0] + 1] if len(ends) else tokens

    def _constraint(self, requests: Sequence[Request]) -> Constraint | None:
        """What the rows of a batch may write; without a limit None, another program."""
        if any(request.allowed is not None for request in requests):
            return self._allowed(requests)
        prefixes = [request.forced_prefix for request in requests]
        return make_forced_prefix(prefixes) if any(map(len, prefixes)) else None

    def _allowed(self, requests: Sequence[Request]) -> Constraint:
        sets: dict[Any, int] = {}
        rows = []
        for request in requests:
            if request.allowed is None:
                raise ValueError(f"request {request.number} has no allowed outputs, others have")
            prefix = tuple(request.forced_prefix)
            whole = tuple((*prefix, *tokens) for tokens in request.allowed)
            longest = max(map(len, whole), default=0)
            if longest >= self._options.max_length:
                raise ValueError(
                    f"an allowed output has {longest} tokens and EOS; expected at most "
                    f"max_length={self._options.max_length}"
                )
            rows.append(sets.setdefault(whole, len(sets)))
        return make_allowed(list(sets), rows, eos_id=self._options.eos_id)

    def _beam_search(
        self, params: PyTree, batch: Batch, constraint: Constraint | None
    ) -> Mapping[str, Array]:
        """`tokens` [batch, n_best, max_length] and `scores` [batch, n_best]."""
        options = self._options
        found = beam_search(
            self._model,
            params,
            batch,
            max_length=options.max_length,
            num_beams=options.num_beams,
            num_return=options.n_best,
            length_penalty=options.length_penalty,
            early_stopping=options.early_stopping,
            eos_id=options.eos_id,
            constraint=constraint,
        )
        return {"tokens": found.tokens, "scores": found.scores}


def _rule(options: GenerationOptions) -> Rule:
    """How one token is chosen at a time."""
    choose: Choose = most_probable
    if options.mode == "sample":
        choose = make_choose(
            temperature=options.temperature, top_k=options.top_k, top_p=options.top_p
        )
    return Rule(
        choose=choose,
        max_length=options.max_length,
        eos_id=options.eos_id,
        copies=options.n_best if options.mode == "sample" else 1,
    )
