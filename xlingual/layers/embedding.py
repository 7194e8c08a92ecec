"""Token embeddings, shared by the stacks and, when tied, by the output layer."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from xlingual.layers.linear import matmul
from xlingual.layers.parameters import make_parameter
from xlingual.outputs import Readout
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array


class TokenEmbedder(nn.Module):
    """A table of one vector per vocabulary entry.

    Attributes:
      vocab_size: number of rows.
      d_model: size of a vector.
      dtype: dtype of the vectors handed out; the table is float32.
      scale_vectors: multiplies the vectors handed out by sqrt(d_model) (Gemma).
      scale_logits: divides tied logits by sqrt(d_model) (T5).
      stddev: standard deviation of a new table.
    """

    vocab_size: int
    d_model: int
    dtype: jnp.dtype
    scale_vectors: bool = False
    scale_logits: bool = True
    stddev: float = 1.0

    def setup(self) -> None:
        """Makes the table, N(0, stddev^2)."""
        self.embedding = make_parameter(
            self,
            "embedding",
            nn.initializers.normal(self.stddev),
            (self.vocab_size, self.d_model),
            ("vocab", "embed"),
        )

    def __call__(self, tokens: Array) -> Array:
        """Returns the vectors of `tokens`.

        Args:
          tokens: [batch, length] int32 in [0, vocab_size).

        Returns:
          [batch, length, embed] `dtype`; NaN for an id outside the table.
        """
        vectors = jnp.take(self.embedding, tokens, axis=0, mode="fill").astype(self.dtype)
        # Each device looks up the part of each vector that it holds, for the tokens of all that
        # hold the rest; then rows and parts are exchanged. The table and its gradient never move.
        vectors = constrain(vectors, ("batch", None, "embed"), first="embed")
        if self.scale_vectors:
            vectors = vectors * jnp.asarray(self.d_model**0.5, self.dtype)
        return constrain(vectors, ("batch", "length", "embed"))

    def attend(self, x: Array) -> Array:
        """Returns logits tied to the table: `x E^T`, over sqrt(d_model) if `scale_logits`.

        Args:
          x: [batch, length, embed] `dtype`.

        Returns:
          [batch, length, vocab] float32.
        """
        states = self.readout(x).states
        return matmul(states, self.embedding.T.astype(self.dtype), jnp.float32)

    def readout(self, x: Array) -> Readout:
        """Returns the two factors of the tied logits of `x`, [batch, length, embed] `dtype`."""
        if self.scale_logits:
            x = x.astype(jnp.float32) / np.sqrt(self.d_model).astype(np.float32)
        return Readout(states=x.astype(self.dtype), table=self.embedding, by_row=True)
