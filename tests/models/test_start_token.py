"""The start token is read wherever decoder inputs have id 0, in packed rows and while decoding."""

import jax
import numpy as np
import pytest

from tests.decoding.test_greedy import config, random_params
from xlingual.decoding.greedy import greedy_decode
from xlingual.evaluation.decoding_batches import make_decoding_batch
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder

START = 5
INPUTS = [np.array([7, 8, 9, 1]), np.array([5, 1])]
PACKED = {
    "encoder_input_tokens": [[7, 8, 1, 9, 1, 0]],
    "encoder_segment_ids": [[1, 1, 1, 2, 2, 0]],
    "decoder_input_tokens": [[0, 7, 8, 0, 9, 0]],
    "decoder_segment_ids": [[1, 1, 1, 2, 2, 0]],
}


@pytest.mark.parametrize("family", [EncoderDecoder, DecoderOnly])
def test_it_is_read_in_place_of_id_0(family):
    """A table whose row 0 is that of the start token gives the same, bit for bit."""
    layers = 2 if family is EncoderDecoder else 0
    model = family(config(num_encoder_layers=layers, start_token_id=START))
    default = family(config(num_encoder_layers=layers))
    params = random_params(model)
    table = params["token_embedder"]["embedding"].copy()
    table[0] = table[START]
    changed = {**params, "token_embedder": {"embedding": table}}
    packed = {name: np.array(rows, np.int32) for name, rows in PACKED.items()}
    prompts = make_decoding_batch(INPUTS, batch_size=2, length=5)

    def compiled(model):
        def run(params):
            logits = model.apply(params, packed).logits[packed["decoder_segment_ids"] > 0]
            return logits, greedy_decode(model, params, prompts, max_length=6, eos_id=-1)

        return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})

    run = compiled(default)
    found, expected, other = compiled(model)(params), run(changed), run(params)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.abs(found[0] - other[0]).max(axis=-1).min() > 1e-3
