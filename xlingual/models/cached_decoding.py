"""What both families do alike with a key-value cache, between two steps."""

import jax

from xlingual.models.cache import DecodingCache, gather_rows, insert_rows, repeat_rows
from xlingual.models.config import TransformerConfig
from xlingual.models.stack import unstack_layers
from xlingual.types import Array, PyTree


class CachedDecoding:
    """The part of `models.base.Model` that does not ask where keys and values come from."""

    config: TransformerConfig

    def serving_params(self, params: PyTree) -> PyTree:
        """Returns the parameters with the kernels of linear maps in the dtype of the activations.

        Tables of embeddings stay: a processor makes all of a bfloat16 one float32 to read a row.
        """
        dtype = self.config.activation_dtype

        def served(path: tuple[jax.tree_util.DictKey, ...], leaf: Array) -> Array:
            return leaf.astype(dtype) if path[-1].key == "kernel" else leaf

        return jax.tree_util.tree_map_with_path(served, params)

    def step_params(self, params: PyTree) -> PyTree:
        """Returns the parameters with the decoder's layers one by one, as `decode_step` runs them.

        A slice of a scanned stack is a copy: inside a loop it would be made at every step.
        """
        decoder = unstack_layers(params["decoder"], self.config.num_decoder_layers)
        return {**params, "decoder": decoder}

    def repeat_rows(self, cache: DecodingCache, times: int) -> DecodingCache:
        """Returns the cache with every row `times` times (see `models.cache`)."""
        return repeat_rows(cache, times)

    def gather_rows(self, cache: DecodingCache, parents: Array) -> DecodingCache:
        """Returns the cache with copies in the places of others (see `models.cache`)."""
        return gather_rows(cache, parents)

    def insert_rows(self, cache: DecodingCache, new: DecodingCache, rows: Array) -> DecodingCache:
        """Returns the cache with other rows in the places of some (see `models.cache`)."""
        return insert_rows(cache, new, rows)
