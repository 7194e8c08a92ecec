"""What the train step, the evaluators and the decoders ask of a model."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.models.flops import Flops, TokenCounts
from xlingual.outputs import ModelOutputs
from xlingual.types import Array, Batch, PRNGKey, PyTree


class Model(Protocol):
    """A model as a value: it holds sizes, never parameters.

    `params` are plain arrays; `init` alone returns them boxed with their logical axes
    (`partitioning.specs.split_boxes` takes the boxes off).
    """

    @property
    def family(self) -> str:
        """Short name for files and results, e.g. `encoder_decoder`; code never branches on it."""

    @property
    def vocab_size(self) -> int:
        """Number of logits of a position; ids of a batch must lie below."""

    @property
    def requires_features(self) -> tuple[str, ...]:
        """Names of the batch features that `apply` reads."""

    def init(self, key: PRNGKey, batch: Mapping[str, Array | jax.ShapeDtypeStruct]) -> PyTree:
        """Returns new parameters in float32, boxed with their logical axes.

        Args:
          key: PRNG key.
          batch: arrays or their shapes; values are not read, so it runs under `jax.eval_shape`.

        Returns:
          A nested dict of boxed arrays.

        Raises:
          ConfigError: the batch lacks a required feature.
        """

    def apply(
        self, params: PyTree, batch: Batch, *, dropout_key: PRNGKey | None = None
    ) -> ModelOutputs:
        """Returns the logits of every target position.

        Args:
          params: unboxed parameters.
          batch: features, each [batch, length].
          dropout_key: PRNG key of this step's dropout; None turns dropout off.

        Returns:
          `logits` [batch, length, vocab] float32 and the last states of each stack in `hidden`.
        """

    def layer_states(self, params: PyTree, batch: Batch) -> tuple[Array, Array]:
        """Returns what every layer makes of the tokens of inputs, without dropout.

        Args:
          params: unboxed parameters.
          batch: decoding features of the family, as for `start_decoding`.

        Returns:
          [layers + 1, batch, length, embed] activations: the embeddings, the output of each layer
          of the stack that reads the inputs, the last after the final norm; and [batch, length]
          bool, where there are tokens. Position i is token i of the inputs, EOS included; a start
          token has none.
        """

    def train_flops(self, tokens: TokenCounts) -> Flops:
        """Returns the operations of one training step, by part (see `models.flops`)."""

    def start_decoding(self, params: PyTree, batch: Batch, *, max_length: int) -> tuple[Array, Any]:
        """Reads the source or the prompt once, and returns scores of the first new token.

        Args:
          params: unboxed parameters.
          batch: decoding features of the family.
          max_length: number of tokens that will be written at most; static.

        Returns:
          logits [batch, vocab] float32, and a cache: an opaque tree of arrays.
        """

    def serving_params(self, params: PyTree) -> PyTree:
        """Returns the parameters with their matrices in the dtype in which they are multiplied.

        Decoding and scoring read them in place of the others, to the same results: call it once
        where many batches follow. It is no state to train on.

        Args:
          params: unboxed parameters.
        """

    def step_params(self, params: PyTree) -> PyTree:
        """Returns the parameters in the form that `decode_step` reads without copying any.

        Call it once, outside of the loop over steps; `decode_step` takes the others too.

        Args:
          params: unboxed parameters, best from `serving_params`.
        """

    def decode_step(self, params: PyTree, cache: Any, tokens: Array) -> tuple[Array, Any]:
        """Appends one token a row and returns scores of the next.

        Args:
          params: unboxed parameters, best from `step_params`.
          cache: from `start_decoding`, `repeat_rows`, `gather_rows` or the last step.
          tokens: [batch] int32.

        Returns:
          logits [batch, vocab] float32, and the cache of the next step.
        """

    def repeat_rows(self, cache: Any, times: int) -> Any:
        """Returns a cache in which every row stands `times` times, one after the other.

        What is read only, such as the keys and values of encoder states, may stay as it is: the
        copies of a row share it.

        Args:
          cache: from `start_decoding` or a step.
          times: copies of a row, at least 1; static.
        """

    def gather_rows(self, cache: Any, parents: Array) -> Any:
        """Returns a cache in which copies of a row have taken the places of others.

        Args:
          cache: from `repeat_rows` or a step after it.
          parents: [batch, times] int32 in [0, times); copy i of a row is replaced by copy
            `parents[row, i]` of the same row.
        """

    def insert_rows(self, cache: Any, new: Any, rows: Array) -> Any:
        """Returns a cache in which some rows are those of another.

        Args:
          cache: from `start_decoding`, `repeat_rows` or a step after it, with room for tokens.
          new: from `start_decoding` with `max_length=0`, and as many `repeat_rows`.
          rows: [new batch] int32, which row of the batch each takes the place of (with all its
            copies); one behind the last takes none.
        """

    def cut_source(self, cache: Any, length: int) -> Any:
        """Returns a cache of rows whose source or prompt is that of a shorter batch.

        Args:
          cache: from `start_decoding` or later.
          length: columns of the shorter batch; no row has more tokens. Static.
        """


def run_network(
    method: Callable[..., Any],
    network: nn.Module,
    params: PyTree,
    *args: Any,
    dropout_key: PRNGKey | None = None,
) -> Any:
    """Returns what a method of a network computes with given parameters.

    Args:
      method: unbound method of the network's class.
      network: the module that owns it.
      params: unboxed parameters.
      *args: arguments of the method.
      dropout_key: PRNG key of dropout; None turns dropout off.
    """
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    return network.apply({"params": params}, *args, rngs=rngs, method=method)


def blank_features(
    batch: Mapping[str, Array | jax.ShapeDtypeStruct], names: tuple[str, ...]
) -> dict[str, Array]:
    """Returns zeros in the shapes of the named features, to build parameters from.

    Args:
      batch: arrays or their shapes.
      names: features that a model reads.

    Returns:
      name -> zeros of the same shape and dtype.

    Raises:
      ConfigError: a feature is missing.
    """
    check_features(batch, names)
    return {name: jnp.zeros(batch[name].shape, batch[name].dtype) for name in names}


def check_features(batch: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Checks that a batch has what a model reads.

    Args:
      batch: name -> feature.
      names: features that must be there.

    Raises:
      ConfigError: a feature is missing.
    """
    missing = [name for name in names if name not in batch]
    if missing:
        raise ConfigError(
            f"batch lacks {', '.join(missing)}; found {', '.join(sorted(batch)) or 'no features'}: "
            "the feature converter must be the one of the model family"
        )
