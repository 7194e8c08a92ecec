"""The benchmark runs the real step, alternates with a peer and says what it measured."""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys

import gin
import jax
import numpy as np
import pytest

from benchmarks import peer, peer_step, train_step
from xlingual import config
from xlingual.data import datasets, feature_converters
from xlingual.errors import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[2]
_TINY = [
    "--gin.D_MODEL=16",
    "--gin.D_FF=32",
    "--gin.D_KV=8",
    "--gin.NUM_HEADS=2",
    "--gin.NUM_DECODER_LAYERS=1",
    "--gin.VOCAB_SIZE=128",
    "--gin.BATCH_SIZE=8",
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 8, 'targets': 4}",
]
_GIN_FILE = str(ROOT / "benchmarks" / "mt5_small.gin")
_ENCODER_DECODER = [
    f"--gin_file={_GIN_FILE}",
    *_TINY,
    "--gin.NUM_ENCODER_LAYERS=1",
]
_FAKE_PEER = """
import json, sys
for line in sys.stdin:
    print(json.dumps(7 if line.strip() == "memory" else [100.0] * int(line)), flush=True)
"""


@pytest.fixture(autouse=True)
def _clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


def run(capsys, *options):
    status = train_step.main([*options])
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err


def test_the_last_line_is_json_whose_numbers_agree(capsys, tmp_path, monkeypatch):
    script = tmp_path / "fake.py"
    script.write_text(_FAKE_PEER)
    monkeypatch.setattr(peer.Peer.__init__, "__kwdefaults__", {"python": "", "script": script})
    status, lines, _ = run(capsys, *_ENCODER_DECODER, "--steps=3", "--peer", "--threads=2")
    assert status == 0
    result = json.loads(lines[-1])
    assert result["steps"] >= 3 and result["dtype"] == "float32"
    assert result["features"]["encoder_input_tokens"] == [8, 8]
    assert result["tokens_per_step"] == 8 * (8 + 4)
    assert result["peak_memory_bytes"] > 50e6
    assert result["peer"]["peak_memory_bytes"] == 7
    seconds, shortest = result["seconds_per_step"], result["seconds_per_step_min"]
    assert 0 < shortest <= seconds
    assert result["tokens_per_second"] == pytest.approx(96 / seconds)
    assert result["flops_per_step"] == pytest.approx(sum(result["flops_by_part"].values()))
    assert result["mfu"] * result["peak_flops_per_second"] * seconds == pytest.approx(
        result["flops_per_step"]
    )
    assert "measured" in result["peak_source"]
    assert result["peer"]["seconds_per_step"] == 100.0
    assert result["ratio_to_peer"] == pytest.approx(100.0 / seconds)
    assert result["ratio_to_peer_of_minima"] == pytest.approx(100.0 / shortest)


def test_the_peer_is_told_the_shape_of_our_step():
    config.parse([_GIN_FILE], [("BATCH_SIZE", "7")])
    args = argparse.Namespace(threads=2, peer_dtype="float32")
    shape = train_step.peer_shape(train_step.bound_parts(), args, compiled=True)
    sizes = {
        "architectures": ["MT5ForConditionalGeneration"],
        "vocab_size": 32128,
        "d_model": 512,
        "d_ff": 1024,
        "d_kv": 64,
        "num_heads": 6,
        "num_layers": 8,
        "num_decoder_layers": 8,
        "tie_word_embeddings": False,
    }
    assert shape.config.items() >= sizes.items()
    assert shape == peer.PeerShape(
        config=shape.config,
        batch_size=7,
        inputs_length=512,
        targets_length=114,
        optimizer="Adafactor",
        threads=2,
        compiled=True,
    )


def test_blocks_alternate_and_so_does_who_begins():
    calls = []

    class Log:
        def run(self, count):
            calls.append(("peer", count))
            return [1.0] * count

    setup = train_step.Setup(
        step=lambda: calls.append("ours"),
        compiled=None,
        model=None,
        spec={},
        optimizer_name="",
        devices=(),
        compile_seconds=0.0,
    )
    ours, theirs = train_step.measure(setup, {"eager": Log()}, steps=4, block=2)
    assert len(ours) == len(theirs["eager"]) == 4
    block = ["ours", "ours", ("peer", 2)]
    assert calls == block + block + block[::-1]


def test_decoder_only_files_run_and_have_no_peer(capsys):
    options = [
        "--gin_file=gin/models/decoder_only/architecture.gin",
        "--gin_file=gin/models/decoder_only/tiny.gin",
        "--gin_file=gin/losses/cross_entropy.gin",
        "--gin_file=gin/optimizers/adafactor.gin",
        "--gin_file=gin/partitioning/data_parallel.gin",
        "--gin_file=gin/runs/pretrain.gin",
        "--gin.MODEL_DIR=unused",
        "--gin.MIXTURE_OR_TASK_NAME=unused",
        "--gin.TRAIN_STEPS=1",
        *_TINY,
    ]
    status, lines, _ = run(capsys, *options, "--steps=1")
    assert status == 0
    assert json.loads(lines[-1])["features"]["decoder_input_tokens"] == [8, 12]
    status, _, error = run(capsys, *options, "--peer")
    assert status == 2 and "no architecture of the Hugging Face layout computes" in error


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "--gin_file: none given"),
        (["--gin_file=nowhere.gin"], "nowhere.gin"),
        ([*_ENCODER_DECODER, "--steps=0"], "must be at least 1"),
        ([*_ENCODER_DECODER, "--gin.BATCH_SIZE=3"], "batch_size=3 does not divide"),
        (["--gin_file=gin/losses/cross_entropy.gin"], "do not bind all of loop.train"),
        ([*_ENCODER_DECODER, "--peer", "--peer_python=/no/python"], "cannot be started"),
    ],
)
def test_bad_input_ends_with_a_message(capsys, options, message):
    status, _, error = run(capsys, *options)
    assert status == 2 and message in error


def test_a_peer_that_ends_says_why(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text("import sys\nsys.exit('no module named torch')\n")
    shape = peer.PeerShape(**dict.fromkeys(peer.PeerShape.__dataclass_fields__, 1))
    child = peer.Peer(shape, python=sys.executable, script=script)
    with pytest.raises(ConfigError, match="the peer ended: no module named torch"):
        child.run(1)
    child.close()


def test_random_batches_are_full_rows_of_ordinary_tokens():
    names = ("decoder_input_tokens", "decoder_positions", "decoder_segment_ids")
    spec = {name: jax.ShapeDtypeStruct((2, 5), "int32") for name in names}
    spec["decoder_loss_weights"] = jax.ShapeDtypeStruct((2, 5), "float32")
    batch = train_step.random_batch(spec, vocab_size=9)
    assert {name: value.dtype for name, value in batch.items()} == {
        name: np.dtype(leaf.dtype) for name, leaf in spec.items()
    }
    tokens = batch["decoder_input_tokens"]
    assert tokens.min() >= train_step.FIRST_TOKEN and tokens.max() < 9
    np.testing.assert_array_equal(batch["decoder_positions"], [range(5)] * 2)
    assert batch["decoder_loss_weights"].all() and batch["decoder_segment_ids"].all()


_LLAMA = ["gin/models/decoder_only/model.gin", "gin/models/decoder_only/modern.gin"]


@pytest.mark.parametrize(
    ("files", "name", "dtype"),
    [
        ([], "MT5ForConditionalGeneration", "float32"),
        (_LLAMA, "LlamaForCausalLM", "bfloat16"),
    ],
)
def test_the_peer_has_as_many_parameters_as_our_model(monkeypatch, files, name, dtype):
    pytest.importorskip("torch", reason="the peer needs PyTorch (`make oracle`)")
    transformers = pytest.importorskip("transformers", reason="the peer is a model of its")
    made = []
    peers_class = getattr(transformers, name)
    original = peers_class.train
    monkeypatch.setattr(
        peers_class,
        "train",
        lambda self, mode=True: made.append(original(self, mode)) or self,
    )
    overrides = [tuple(word.removeprefix("--gin.").split("=")) for word in _ENCODER_DECODER[1:]]
    if files:
        overrides = [(macro, value) for macro, value in overrides if macro != "NUM_ENCODER_LAYERS"]
        overrides.append(("LOGITS_VIA_EMBEDDING", "True"))
    config.parse([_GIN_FILE, *files], overrides)
    parts = train_step.bound_parts()
    args = argparse.Namespace(threads=1, peer_dtype=dtype)
    shape = train_step.peer_shape(parts, args, compiled=False)
    step = peer_step.make_step(dataclasses.asdict(shape))
    first, second = step(), step()
    assert np.isfinite([first, second]).all() and first != second
    boxed = jax.eval_shape(
        lambda: parts["model"].init(jax.random.key(0), train_step.spec_of(parts))
    )
    ours = sum(leaf.size for leaf in jax.tree.leaves(boxed))
    assert sum(parameter.numel() for parameter in made[0].parameters()) == ours


def test_neither_tensorflow_nor_seqio_is_needed():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'seqio')))\n"
        "from benchmarks import train_step\n"
        "sys.exit(train_step.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *_ENCODER_DECODER, "--steps=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["steps"] >= 1


@pytest.mark.parametrize(
    ("family", "converter"),
    [
        ("encoder_decoder", feature_converters.EncDecFeatureConverter(pack=True)),
        ("decoder_only", feature_converters.DecoderFeatureConverter(pack=True)),
    ],
)
def test_constant_batches_have_the_form_of_real_ones(family, converter):
    folder = f"gin/models/{family}/"
    config.parse([_GIN_FILE, folder + "model.gin", folder + "tiny.gin"], [("VOCAB_SIZE", "128")])
    spec = train_step.bound_parts()["source"].spec
    real = datasets.batch_spec(converter, {"inputs": 512, "targets": 114}, 4)
    assert spec == {name: real[name] for name in spec}
    assert {*real} - {*spec} <= {"decoder_causal_attention"}
