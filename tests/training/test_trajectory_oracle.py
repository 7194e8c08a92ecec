"""Fifty steps of the same batches give the loss curve of transformers with PyTorch's AdamW.

Both start from the same random weights: theirs are saved by `save_pretrained` and imported. Ours
goes through the train step that every run uses, theirs through `backward`, `clip_grad_norm_` and
`torch.optim.AdamW`; float32, no dropout.
"""

import dataclasses

import jax
import numpy as np
import pytest

from xlingual.checkpointing.huggingface import open_huggingface
from xlingual.checkpointing.layout import make_model
from xlingual.checkpointing.mapping import read_params
from xlingual.data.base import TaskInfo
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.schedules import linear_warmup_linear
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.state import make_state_from, plan_state
from xlingual.training.step import make_train_step

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="the oracle runs in PyTorch, which is not installed")
transformers = pytest.importorskip("transformers", reason="the oracle is transformers' models")

STEPS, BATCHES, TOLERANCE = 50, 8, 1e-3
V, ROWS, SOURCE, LENGTH = 128, 8, 20, 12
FAST_COMPILATION = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
TASKS = (TaskInfo(name="random", objective="random"),)
OPTIMIZER = AdamW(
    learning_rate=linear_warmup_linear(5e-3, warmup_steps=10, total_steps=60),
    beta2=0.98,
    weight_decay=0.1,
    max_grad_norm=1.0,
)
T5 = {
    "vocab_size": V,
    "d_model": 32,
    "d_ff": 48,
    "d_kv": 8,
    "num_heads": 4,
    "num_layers": 2,
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
}
LLAMA = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,  # its row of the embedding would get no gradient
}
MODELS = {
    "mt5": ("MT5ForConditionalGeneration", "MT5Config", T5),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of PyTorch that wait for work would take the time of everybody else."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_theirs(name):
    """A random model in training mode, its output layer its own."""
    torch.manual_seed(0)
    model_class, config_class, sizes = MODELS[name]
    config = getattr(transformers, config_class)(**sizes)
    config._attn_implementation = "eager"
    model = getattr(transformers, model_class)(config)
    # The port of mT5 ties the output layer whatever its configuration says.
    model.lm_head.weight = torch.nn.Parameter(torch.randn(V, 32) / 32**0.5)
    return model.train()


def make_batches(encoder):
    """Batches of padded rows whose targets can be learned: sums of neighbours in the source."""
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(BATCHES):
        lengths = rng.integers(LENGTH // 2, LENGTH + 1, (ROWS, 1))
        there = np.arange(LENGTH)[None] < lengths
        source = rng.integers(2, V // 2, (ROWS, SOURCE)).astype(np.int32)
        source[0, SOURCE // 2 :] = 0
        walk = np.cumsum(rng.integers(1, 3, (ROWS, LENGTH)), axis=1) + source[:, :1]
        targets = walk % (V - 2) + 2
        targets = np.where(there, targets, 0).astype(np.int32)
        batch = {
            "decoder_target_tokens": targets,
            "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1] * there,
            "decoder_segment_ids": there.astype(np.int32),
            "decoder_positions": np.where(there, np.arange(LENGTH)[None], 0).astype(np.int32),
            "decoder_loss_weights": there.astype(np.float32),
            "decoder_task_ids": there.astype(np.int32),
        }
        if encoder:
            real = source > 0
            batch |= {
                "encoder_input_tokens": source,
                "encoder_segment_ids": real.astype(np.int32),
                "encoder_positions": np.where(real, np.arange(SOURCE)[None], 0).astype(np.int32),
            }
        else:
            batch["decoder_causal_attention"] = np.zeros_like(targets)
        batches.append(batch)
    return batches


def their_losses(model, batches):
    """The mean loss per target before each step."""

    def decays(name, weight):
        return weight.ndim >= 2 and "relative_attention_bias" not in name

    named = list(model.named_parameters())
    groups = [
        {
            "params": [weight for name, weight in named if decays(name, weight) == decaying],
            "weight_decay": OPTIMIZER.weight_decay if decaying else 0.0,
        }
        for decaying in (True, False)
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=1.0, betas=(OPTIMIZER.beta1, OPTIMIZER.beta2), eps=OPTIMIZER.epsilon
    )
    losses = []
    for step in range(STEPS):
        batch = {name: torch.tensor(x) for name, x in batches[step % BATCHES].items()}
        decoder = batch["decoder_input_tokens"].long()
        if "encoder_input_tokens" in batch:
            arguments = {
                "input_ids": batch["encoder_input_tokens"].long(),
                "attention_mask": batch["encoder_segment_ids"],
                "decoder_input_ids": decoder,
                "decoder_attention_mask": batch["decoder_segment_ids"],
            }
        else:
            arguments = {"input_ids": decoder, "attention_mask": batch["decoder_segment_ids"]}
        logits = model(**arguments, use_cache=False).logits
        there = batch["decoder_segment_ids"] > 0
        loss = torch.nn.functional.cross_entropy(
            logits[there], batch["decoder_target_tokens"][there].long()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = float(OPTIMIZER.learning_rate(np.int32(step)))
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def our_losses(folder, batches):
    """The loss that the train step reports, of the model in a folder of transformers."""
    checkpoint = open_huggingface(folder)
    model = make_model(checkpoint.family, dataclasses.replace(checkpoint.config, dtype="float32"))
    partitioner = Partitioner(rules=rules.data_parallel(), devices=tuple(jax.devices()[:1]))
    spec = {n: jax.ShapeDtypeStruct(x.shape, x.dtype) for n, x in batches[0].items()}
    layout = plan_state(model, OPTIMIZER, partitioner, spec)
    params = read_params(
        layout.shapes.params, checkpoint.rules, checkpoint.source, checkpoint.ignored
    )
    state = make_state_from(layout, partitioner, params)
    step = make_train_step(
        model=model,
        losses={"cross_entropy": CrossEntropy(z_loss=0.0)},
        layout=layout,
        learning_rate=OPTIMIZER.learning_rate,
        num_tasks=len(TASKS),
    )
    jitted = partitioner.jit(
        step,
        in_shardings=(layout.shardings, partitioner.batch_sharding),
        out_shardings=(layout.shardings, partitioner.replicated),
    )
    compiled = jitted.lower(layout.shapes, spec).compile(compiler_options=FAST_COMPILATION)
    losses = []
    for index in range(STEPS):
        batch = partitioner.shard_batch(batches[index % BATCHES])
        state, metrics = compiled(state, batch)
        losses.append(float(metrics.scalars["loss"]))
    return np.array(losses)


@pytest.mark.parametrize("name", MODELS)
def test_fifty_steps_give_the_same_losses(name, tmp_path):
    theirs = make_theirs(name)
    theirs.save_pretrained(tmp_path)
    batches = make_batches(encoder=name == "mt5")
    found = our_losses(tmp_path, batches)
    expected = their_losses(theirs, batches)
    assert expected[-1] < 0.75 * expected[0]  # something was learned on the way
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE)
