"""Small random models of `transformers`, their batches, and our model in the same place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from tests.checkpointing.small_models import LAYERS, D, V

T5 = dict(vocab_size=V, d_model=D, d_ff=48, d_kv=8, num_heads=4, num_layers=LAYERS)
T5 |= dict(dropout_rate=0.0, feed_forward_proj="gated-gelu", decoder_start_token_id=0)
DECODER = dict(vocab_size=V, hidden_size=D, intermediate_size=48, num_hidden_layers=LAYERS)
DECODER |= dict(num_attention_heads=4, num_key_value_heads=2, head_dim=8)
DECODER |= dict(bos_token_id=3, eos_token_id=1, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e4, factor=4.0, low_freq_factor=1.0)
LLAMA3 |= dict(high_freq_factor=4.0, original_max_position_embeddings=16)
T5_SMALL = T5 | dict(d_model=512, d_ff=1024, d_kv=64, num_heads=6, num_layers=8)
DECODER_SMALL = DECODER | dict(hidden_size=512, intermediate_size=1024, num_hidden_layers=8)
DECODER_SMALL |= dict(head_dim=64, num_attention_heads=8, tie_word_embeddings=False)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A class of transformers, its configuration, and whether its output layer is tied."""

    name: str
    settings: dict
    tied: bool

    @property
    def is_encoder_decoder(self):
        return "T5" in self.name


KINDS = {
    "t5_tied": Kind("T5", T5, True),
    "t5_untied": Kind("T5", T5 | {"tie_word_embeddings": False}, False),
    "mt5_untied": Kind("MT5", T5 | {"decoder_start_token_id": 5}, False),
    "umt5_untied": Kind("UMT5", T5, False),
    "llama": Kind("Llama", DECODER, False),
    "llama_tied_llama3": Kind(
        "Llama", DECODER | {"tie_word_embeddings": True, "rope_parameters": LLAMA3}, True
    ),
    "qwen3": Kind("Qwen3", DECODER | {"head_dim": 16, "tie_word_embeddings": False}, False),
    "mt5_small": Kind("MT5", T5_SMALL, False),
    "qwen3_small": Kind("Qwen3", DECODER_SMALL, False),
    "gemma": Kind("Gemma", DECODER | {"num_key_value_heads": 1, "head_dim": 16}, True),
}


def make_theirs(kind):
    """A random model in evaluation mode, float32, none of whose weights is special."""
    torch.manual_seed(0)
    head = "ForConditionalGeneration" if kind.is_encoder_decoder else "ForCausalLM"
    config = getattr(transformers, f"{kind.name}Config")(**kind.settings)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{kind.name}{head}")(config)
    if not kind.tied:
        # Some classes tie the output layer whatever their configuration says.
        width = model.get_input_embeddings().weight.shape[1]
        model.lm_head.weight = torch.nn.Parameter(torch.randn(V, width) / width**0.5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(0.3 * torch.randn_like(weight))
            elif "relative" in name:
                weight.copy_(torch.randn_like(weight))
            elif "proj" in name:
                weight.copy_(torch.randn_like(weight) / weight.shape[1] ** 0.5)
    return model.eval()


def load_theirs(model, folder):
    """The model of transformers in a folder, which must have all tensors and no others."""
    loaded, report = AUTO_CLASSES[model.family].from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
    )
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    assert not report["mismatched_keys"], report
    return loaded.eval()


AUTO_CLASSES = {
    "encoder_decoder": transformers.AutoModelForSeq2SeqLM,
    "decoder_only": transformers.AutoModelForCausalLM,
}


def start_token(model):
    """What a model of transformers reads first."""
    encoder_decoder = model.config.is_encoder_decoder
    return model.config.decoder_start_token_id if encoder_decoder else model.config.bos_token_id


def their_logits(model, batch):
    """[batch, length, vocab] of the decoder tokens, NaN on padding; every example by itself."""
    shape = (*batch["decoder_input_tokens"].shape, V)
    logits = torch.full(shape, torch.nan)
    decoder_inputs = batch["decoder_input_tokens"]
    for row, segments in enumerate(batch["decoder_segment_ids"]):
        for number in range(1, segments.max() + 1):
            where = np.flatnonzero(segments == number)
            tokens = np.where(where == where[0], start_token(model), decoder_inputs[row, where])
            decoder = torch.tensor(tokens)[None].long()
            arguments = {"input_ids": decoder}
            if "encoder_input_tokens" in batch:
                there = batch["encoder_segment_ids"][row] == number
                source = torch.tensor(batch["encoder_input_tokens"][row, there])[None].long()
                arguments = {"input_ids": source, "decoder_input_ids": decoder}
            logits[row, where] = model(**arguments, use_cache=False).logits[0]
    return logits


@dataclasses.dataclass(frozen=True)
class StateDict:
    """Arrays of PyTorch by name, as a source of tensors."""

    arrays: dict

    description = "a state dict"

    @property
    def tensors(self):
        shapes = {name: tuple(array.shape) for name, array in self.arrays.items()}
        return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}

    def read(self, name, index):
        return self.arrays[name].detach().numpy()[index]


def their_loss(model, batch):
    """The loss that the class of transformers computes from labels; of padded batches."""
    labels = np.where(batch["decoder_segment_ids"] > 0, batch["decoder_target_tokens"], -100)
    if "encoder_input_tokens" in batch:
        arguments = {
            "input_ids": torch.tensor(batch["encoder_input_tokens"]).long(),
            "attention_mask": torch.tensor(batch["encoder_segment_ids"]),
            "labels": torch.tensor(labels).long(),
        }
    else:  # the label of a token is the token after it
        targets, start = batch["decoder_target_tokens"], start_token(model)
        tokens = np.pad(targets, ((0, 0), (1, 0)), constant_values=start)
        labels = np.pad(labels, ((0, 0), (1, 0)), constant_values=-100)
        arguments = {
            "input_ids": torch.tensor(tokens).long(),
            "labels": torch.tensor(labels).long(),
        }
    return float(model(**arguments, use_cache=False).loss.detach())


def assert_close(ours, theirs, batch):
    """Logits of the tokens that are there, within 1e-4 of each other."""
    there = batch["decoder_segment_ids"] > 0
    theirs = theirs.detach().numpy()
    assert np.std(theirs[there]) > 0.05
    np.testing.assert_allclose(ours[there], theirs[there], rtol=0, atol=1e-4)
