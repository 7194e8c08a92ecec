"""Texts as vectors: the states of any layer, pooled over the tokens of a sentence.

Both families: the encoder's states, or those of a decoder that reads the text as a prompt. The ids
are those of the text and EOS; a prefix such as `<2{lang}>` stands in front where it is asked for.

References:
  Ni et al., 2022, "Sentence-T5", arXiv:2108.08877 (mean over the encoder); Muennighoff, 2022,
  "SGPT: GPT Sentence Embeddings for Semantic Search", arXiv:2202.08904 (position-weighted mean);
  Su et al., 2021, "Whitening Sentence Representations", arXiv:2103.15316; Libovický et al., 2020,
  "On the Language Neutrality of Pre-trained Multilingual Representations", arXiv:2004.05160
  (centring by language).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import seqio

from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import BatchShapes, decode_all, make_shapes
from xlingual.evaluation.text_requests import TextEncoder
from xlingual.models.base import Model
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import Array, Batch, PyTree

POOLINGS = ("mean", "weighted_mean", "first", "last")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """How texts become vectors.

    Attributes:
      layer: 0 for the embeddings, i for the output of layer i, negative from the last (-1).
      pooling: one of `POOLINGS`: mean over tokens, the same with weight i for token i, the first
        token or the last, which is EOS.
      prefix: stands before every text; `{lang}` in it becomes the language.
      max_length: longest inputs in tokens, EOS included; texts are cut at their end.
      batch_size: texts that are encoded together.
      centre: subtracts the mean of the texts of each language.
      whiten: turns the covariance of all texts into the identity, centring before.

    Raises:
      ConfigError: an unknown pooling, or a size below 1.
    """

    layer: int = -1
    pooling: str = "mean"
    prefix: str = ""
    max_length: int = 128
    batch_size: int = 64
    centre: bool = False
    whiten: bool = False

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling={self.pooling!r}; expected one of {', '.join(POOLINGS)}")
        if self.max_length < 2 or self.batch_size < 1:
            raise ConfigError(
                f"max_length={self.max_length}, batch_size={self.batch_size}; expected at least 2 "
                "and 1"
            )


class SentenceEncoder:
    """Encodes texts with one model; parameters come with each call, or once for all."""

    def __init__(
        self,
        model: Model,
        partitioner: Partitioner,
        vocabulary: seqio.Vocabulary,
        options: EncodingOptions | None = None,
        *,
        params: PyTree = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          model: the model.
          partitioner: mesh and rules.
          vocabulary: of the model.
          options: how; None for the defaults.
          params: unboxed parameters, placed by `partitioner`; None where each call brings them.

        Raises:
          ConfigError: the batch does not divide over the mesh.
        """
        self.options = options or EncodingOptions()
        partitioner.check_batch_size(self.options.batch_size)
        self._model, self._partitioner, self._vocabulary = model, partitioner, vocabulary
        self._params = params
        self._shapes = make_shapes(
            self.options.batch_size,
            self.options.max_length,
            num_shards=partitioner.num_batch_shards,
        )
        self._texts: dict[str, TextEncoder] = {}
        self._pooled = partitioner.jit(self._pool, out_shardings=partitioner.replicated)
        self._states = partitioner.jit(self._unpooled, out_shardings=partitioner.replicated)

    def encode(
        self, texts: Sequence[str], *, lang: str | None = None, params: PyTree = None
    ) -> np.ndarray:
        """Returns the vectors of texts, [texts, embed] float32, in order.

        Args:
          texts: at least one; an empty one is its EOS.
          lang: their language, for the prefix.
          params: unboxed parameters; None for those of the constructor.
        """
        return self.encode_layers(texts, lang=lang, params=params, layers=(self.options.layer,))[0]

    def encode_layers(
        self,
        texts: Sequence[str],
        *,
        lang: str | None = None,
        params: PyTree = None,
        layers: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Returns the vectors of texts in several layers, [layers, texts, embed] float32.

        Args:
          texts: at least one.
          lang: their language, for the prefix.
          params: unboxed parameters; None for those of the constructor.
          layers: which; None for all, 0 first.
        """
        encoder = self._encoder_of(lang)
        inputs = [encoder.inputs({"text": text}) for text in texts]
        pooled = self._run(self._pooled, inputs, params, self._shapes)
        chosen = slice(None) if layers is None else list(layers)
        vectors = np.empty((pooled[0][chosen].shape[0], len(texts), pooled[0].shape[1]), np.float32)
        for i, rows in enumerate(pooled):
            vectors[:, i] = rows[chosen]
        return vectors

    def token_states(
        self, inputs: Sequence[np.ndarray], *, params: PyTree = None, layer: int | None = None
    ) -> list[np.ndarray]:
        """Returns the states of the tokens of inputs in one layer, [length, embed] float32 each.

        Args:
          inputs: ids [length] int32, each at most `max_length` long.
          params: unboxed parameters; None for those of the constructor.
          layer: which; None for that of the options.
        """
        index = self.options.layer if layer is None else layer
        found = self._run(self._states, inputs, params, self._shapes, index)
        return [states[: len(ids)] for states, ids in zip(found, inputs, strict=True)]

    def num_layers(self, params: PyTree = None) -> int:
        """Returns the number of layers whose states there are, that of the embeddings included."""
        params = self._params if params is None else params
        spec = {
            "encoder_input_tokens": (1, 2),
            "decoder_prefix_tokens": (1, 3),
            "decoder_prefix_lengths": (1,),
        }
        batch = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in spec.items()}
        return int(jax.eval_shape(self._model.layer_states, params, batch)[0].shape[0])

    def _encoder_of(self, lang: str | None) -> TextEncoder:
        prefix = self.options.prefix.replace("{lang}", lang or "")
        if prefix not in self._texts:
            self._texts[prefix] = TextEncoder(
                self._vocabulary, prefix=prefix, max_inputs=self.options.max_length
            )
        return self._texts[prefix]

    def _run(
        self,
        program: Any,
        inputs: Sequence[np.ndarray],
        params: PyTree,
        shapes: BatchShapes,
        *more: Any,
    ) -> list[Any]:
        params = self._params if params is None else params
        if params is None:
            raise ValueError("no params; expected them in the constructor or in the call")
        return decode_all(
            inputs,
            lambda batch, _: program(params, batch, *(np.int32(number) for number in more)),
            partitioner=self._partitioner,
            shapes=shapes,
        )

    def _pool(self, params: PyTree, batch: Batch) -> Array:
        """Returns [batch, layers, embed] float32."""
        states, mask = self._model.layer_states(params, batch)
        pooled = pool(states.astype(jnp.float32), mask, self.options.pooling)
        return jnp.moveaxis(pooled, 0, 1)

    def _unpooled(self, params: PyTree, batch: Batch, layer: Array) -> Array:
        """Returns [batch, length, embed] float32 of one layer."""
        states, _ = self._model.layer_states(params, batch)
        return states[layer].astype(jnp.float32)


def pool(states: Array, mask: Array, pooling: str) -> Array:
    """Returns one vector a row, [..., batch, embed].

    Args:
      states: [..., batch, length, embed].
      mask: [batch, length] bool, where there are tokens; at least one, the first among them.
      pooling: one of `POOLINGS`.
    """
    if pooling == "first":
        return states[..., 0, :]
    counts = jnp.sum(mask, axis=-1, dtype=jnp.int32)
    if pooling == "last":
        weights = jnp.arange(mask.shape[-1])[None, :] == (counts - 1)[:, None]
    elif pooling == "weighted_mean":
        weights = mask * jnp.arange(1, mask.shape[-1] + 1)[None, :]
    else:
        weights = mask
    weights = weights.astype(states.dtype)
    weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
    precision = jax.lax.Precision.HIGHEST
    return jnp.einsum("...bkm,bk->...bm", states, weights, precision=precision)


def adjust(
    vectors: Mapping[str, np.ndarray], *, centre: bool, whiten: bool
) -> dict[str, np.ndarray]:
    """Returns vectors of several languages without what tells languages, or axes, apart.

    Args:
      vectors: language -> [texts, embed] float32.
      centre: subtracts the mean of each language.
      whiten: then turns the covariance over all languages into the identity; axes without
        variance (below a millionth of the largest) are dropped.
    """
    found = {lang: np.asarray(v, np.float64) for lang, v in vectors.items()}
    if centre:
        found = {lang: v - v.mean(axis=0) for lang, v in found.items()}
    if whiten:
        together = np.concatenate(list(found.values()))
        mean = together.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(together - mean, rowvar=False, bias=True))
        kept = values > 1e-6 * max(values.max(), 1e-300)
        scale = axes[:, kept] / np.sqrt(values[kept])
        found = {lang: (v - mean) @ scale for lang, v in found.items()}
    return {lang: v.astype(np.float32) for lang, v in found.items()}
