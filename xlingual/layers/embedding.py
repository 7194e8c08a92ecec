"""Token embeddings, shared by the stacks and, when tied, by the output layer."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from xlingual.layers.linear import matmul
from xlingual.layers.parameters import make_parameter
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array


class TokenEmbedder(nn.Module):
    """A table of one vector per vocabulary entry.

    Attributes:
      vocab_size: number of rows.
      d_model: size of a vector.
      dtype: dtype of the vectors handed out; the table is float32.
    """

    vocab_size: int
    d_model: int
    dtype: jnp.dtype

    def setup(self) -> None:
        """Makes the table, N(0, 1)."""
        self.embedding = make_parameter(
            self,
            "embedding",
            nn.initializers.normal(1.0),
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
        return constrain(vectors, ("batch", "length", "embed"))

    def attend(self, x: Array) -> Array:
        """Returns logits tied to the table: `x E^T / sqrt(d_model)`.

        Args:
          x: [batch, length, embed] `dtype`.

        Returns:
          [batch, length, vocab] float32.
        """
        scaled = x.astype(jnp.float32) / np.sqrt(self.d_model).astype(np.float32)
        return matmul(scaled.astype(self.dtype), self.embedding.T.astype(self.dtype), jnp.float32)
