"""A model that compiles in no time: the next token depends on the last one and on the source."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.models.cache import rows_of_copies
from xlingual.outputs import ModelOutputs


def make_params(vocab_size):
    """Random tables; EOS is likely."""
    rng = np.random.default_rng(0)
    tables = {"next": rng.normal(0, 2, (vocab_size, vocab_size)).astype(np.float32)}
    tables["next"][:, 1] += 1.0
    return {**tables, "source": rng.normal(0, 1, (vocab_size, vocab_size)).astype(np.float32)}


PARAMS = make_params(24)


@dataclasses.dataclass(frozen=True)
class BigramModel:
    """Logits: a row of `next`, and the mean of the rows of `source` over the source."""

    vocab_size: int = 24

    requires_features = ("encoder_input_tokens", "decoder_input_tokens")

    def start_decoding(self, params, batch, *, max_length):
        start = jnp.zeros(batch["encoder_input_tokens"].shape[:1], jnp.int32)
        return self.decode_step(params, self._source(params, batch), start)

    def serving_params(self, params):
        return params

    def step_params(self, params):
        return params

    def decode_step(self, params, cache, tokens):
        return params["next"][tokens] + cache, cache

    def repeat_rows(self, cache, times):
        return jnp.repeat(cache, times, axis=0)

    def gather_rows(self, cache, parents):
        return cache

    def insert_rows(self, cache, new, rows):
        index = rows_of_copies(rows, len(new) // len(rows))
        return cache.at[index].set(new, mode="drop")

    def cut_source(self, cache, length):
        return cache

    def apply(self, params, batch, *, dropout_key=None):
        source = self._source(params, batch)[:, None, :]
        return ModelOutputs(
            logits=params["next"][batch["decoder_input_tokens"]] + source, hidden={}
        )

    def _source(self, params, batch):
        tokens = batch["encoder_input_tokens"]
        kept = (tokens > 0)[:, :, None]
        total = jnp.sum(jnp.where(kept, jnp.asarray(params["source"])[tokens], 0.0), axis=1)
        return total / jnp.sum(kept, axis=1)


def log_probabilities(inputs, targets, params=PARAMS):
    """[length] float32, by the definition."""
    source = params["source"][inputs].mean(axis=0)
    logits = params["next"][np.array([0, *targets[:-1]])] + source
    scores = np.asarray(jax.nn.log_softmax(logits))
    return scores[np.arange(len(targets)), targets]
