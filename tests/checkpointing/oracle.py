"""Small random models of `transformers`, their batches, and our model in the same place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from xlingual.checkpointing import weights
from xlingual.checkpointing.huggingface import open_huggingface
from xlingual.checkpointing.huggingface_export import ExportOptions, export_huggingface, read_config
from xlingual.checkpointing.layout import make_model, param_shapes
from xlingual.checkpointing.mapping import flatten, read_params
from xlingual.checkpointing.manager import describe_arrays
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel, fsdp

V, D, LAYERS, LENGTH = 96, 32, 2, 24

T5 = dict(vocab_size=V, d_model=D, d_ff=48, d_kv=8, num_heads=4, num_layers=LAYERS)
T5 |= dict(dropout_rate=0.0, feed_forward_proj="gated-gelu")
DECODER = dict(vocab_size=V, hidden_size=D, intermediate_size=48, num_hidden_layers=LAYERS)
DECODER |= dict(num_attention_heads=4, num_key_value_heads=2, head_dim=8)
DECODER |= dict(bos_token_id=0, eos_token_id=1, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e4, factor=4.0, low_freq_factor=1.0)
LLAMA3 |= dict(high_freq_factor=4.0, original_max_position_embeddings=16)


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
    "mt5_untied": Kind("MT5", T5, False),
    "umt5_untied": Kind("UMT5", T5, False),
    "umt5_tied": Kind("UMT5", T5, True),
    "llama": Kind("Llama", DECODER, False),
    "llama3_tied": Kind(
        "Llama", DECODER | {"tie_word_embeddings": True, "rope_parameters": LLAMA3}, True
    ),
    "qwen3": Kind("Qwen3", DECODER | {"head_dim": 16, "tie_word_embeddings": False}, False),
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
        model.lm_head.weight = torch.nn.Parameter(torch.randn(V, D) / D**0.5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(0.3 * torch.randn_like(weight))
            elif "relative" in name:
                weight.copy_(torch.randn_like(weight))
            elif "proj" in name:
                weight.copy_(torch.randn_like(weight) / weight.shape[1] ** 0.5)
    return model.eval()


def save_theirs(model, folder, **options):
    """Writes a model of transformers; an untied one with its own output layer."""
    model.save_pretrained(folder, **options)


def partitioner(num_devices=1):
    rules = data_parallel() if num_devices == 1 else fsdp()
    sizes = dict(data=1, fsdp=num_devices, tensor=1)
    return Partitioner(rules=rules, **sizes, devices=tuple(jax.devices()[:num_devices]))


def load_ours(folder, *, num_devices=1, scan_layers=True):
    """Our model (activations in float32) and its parameters, of a foreign folder."""
    checkpoint = open_huggingface(folder)
    config = dataclasses.replace(checkpoint.config, dtype="float32", scan_layers=scan_layers)
    model = make_model(checkpoint.family, config)
    shapes = param_shapes(model, partitioner(num_devices))
    return model, read_params(shapes, checkpoint.rules, checkpoint.source, checkpoint.ignored)


def export_ours(model, params, folder, *, details=None, **options):
    """Writes our model in the Hugging Face layout."""
    info = weights.WeightsInfo(
        family=model.family,
        config=dataclasses.asdict(model.config),
        source="a test",
        arrays=describe_arrays(params),
        details=details or {},
    )
    assert read_config(info.config) == model.config
    flat = flatten(params)
    export_huggingface(
        folder,
        info,
        lambda path: np.asarray(flat[path]),
        identity={},
        options=ExportOptions(**options),
        say=lambda line: None,
    )


def load_theirs(model, folder):
    """The model of transformers in a folder, which must have all tensors and no others."""
    name = f"{KINDS_OF_FAMILY[model.family]}"
    loaded, report = getattr(transformers, name).from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
    )
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    assert not report["mismatched_keys"], report
    return loaded.eval()


KINDS_OF_FAMILY = {
    "encoder_decoder": "AutoModelForSeq2SeqLM",
    "decoder_only": "AutoModelForCausalLM",
}


def make_batch(family, *, packed):
    """Two rows: padded, or two examples each."""
    rng = np.random.default_rng(0)

    def row(lengths, start):
        tokens = np.zeros((2, LENGTH), np.int32)
        segments, positions = np.zeros_like(tokens), np.zeros_like(tokens)
        for r, sizes in enumerate(lengths):
            at = 0
            for number, size in enumerate(sizes, start=1):
                tokens[r, at : at + size] = rng.integers(start, V, size)
                segments[r, at : at + size] = number
                positions[r, at : at + size] = np.arange(size)
                at += size
        return tokens, segments, positions

    lengths = [[9, 11], [14, 6]] if packed else [[24], [15]]
    targets, target_segments, target_positions = row(lengths, 2)
    inputs = np.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    batch = {
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.where(target_positions == 0, 0, inputs),
        "decoder_segment_ids": target_segments,
        "decoder_positions": target_positions,
        "decoder_loss_weights": (target_segments > 0).astype(np.float32),
    }
    if family == "encoder_decoder":
        source, source_segments, source_positions = row([[7, 12], [10, 9]] if packed else [[24], [13]], 2)
        batch |= {
            "encoder_input_tokens": source,
            "encoder_segment_ids": source_segments,
            "encoder_positions": source_positions,
        }
    return batch


def their_logits(model, batch):
    """[batch, length, vocab] of the decoder tokens, NaN on padding; every example by itself."""
    shape = (*batch["decoder_input_tokens"].shape, V)
    logits = torch.full(shape, torch.nan)
    for row, segments in enumerate(batch["decoder_segment_ids"]):
        for number in range(1, segments.max() + 1):
            where = np.flatnonzero(segments == number)
            decoder = torch.tensor(batch["decoder_input_tokens"][row, where])[None].long()
            arguments = {"input_ids": decoder}
            if "encoder_input_tokens" in batch:
                there = batch["encoder_segment_ids"][row] == number
                source = torch.tensor(batch["encoder_input_tokens"][row, there])[None].long()
                arguments = {"input_ids": source, "decoder_input_ids": decoder}
            logits[row, where] = model(**arguments, use_cache=False).logits[0]
    return logits


def our_logits(model, params, batch):
    return np.asarray(jax.jit(lambda p, b: model.apply(p, b).logits)(params, batch))


def our_loss(logits, batch):
    """Mean cross-entropy over the tokens with weight 1."""
    scores = jax.nn.log_softmax(jnp.asarray(logits))
    chosen = jnp.take_along_axis(scores, batch["decoder_target_tokens"][..., None], axis=-1)[..., 0]
    return float(-jnp.sum(chosen * batch["decoder_loss_weights"]) / batch["decoder_loss_weights"].sum())


def assert_close(ours, theirs, batch, tolerance=1e-4):
    """Logits of the tokens that are there, within 1e-4 of each other."""
    there = batch["decoder_segment_ids"] > 0
    theirs = theirs.detach().numpy()
    assert np.std(theirs[there]) > 0.1
    np.testing.assert_allclose(ours[there], theirs[there], atol=tolerance * max(1, np.std(theirs[there])))
