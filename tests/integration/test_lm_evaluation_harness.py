"""An exported decoder runs in lm-evaluation-harness, which finds the likelihoods that we find.

The package may live in an environment of its own: `XLINGUAL_LM_EVAL` names its Python.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.checkpointing import small_models
from xlingual.checkpointing.layout import make_model
from xlingual.cli import main
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.tokenizer_files import export_tokenizer, load_tokenizer_vocabulary
from xlingual.evaluation.decoding_batches import make_shapes
from xlingual.evaluation.likelihood import Scorer
from xlingual.models.config import TransformerConfig

CHOICES = ["sports", "health", "travel"]
TEXTS = ["The match ended late.", "A new pill.", "Un billet d'avion.", "Die Fähre fährt."]
TASK = """
task: topics
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "<pad>{{{{text}}}} Topic:"
doc_to_choice: [sports, health, travel]
doc_to_target: label
metric_list:
  - metric: acc
"""


@pytest.fixture(scope="module")
def harness():
    """The Python that has the package."""
    python = os.environ.get("XLINGUAL_LM_EVAL", sys.executable)
    found = subprocess.run(
        [python, "-c", "import importlib.util as u; exit(u.find_spec('lm_eval') is None)"],
        check=False,
    )
    if found.returncode:
        pytest.skip("lm-evaluation-harness (pip install lm-eval) is not installed")
    return python


def _export(folder):
    """Writes a small decoder as `xlingual export` does; returns it and its vocabulary."""
    vocabulary = ByteVocabulary(num_sentinels=3)
    config = TransformerConfig(
        vocab_size=-(-vocabulary.vocab_size // 8) * 8,
        d_model=32,
        d_ff=48,
        d_kv=8,
        num_heads=4,
        num_kv_heads=2,
        num_encoder_layers=0,
        num_decoder_layers=2,
        position_encoding="rotary",
        mlp_activation="silu",
        scale_scores=True,
        scale_tied_logits=False,
        dtype="float32",
    )
    model = make_model("decoder_only", config)
    params = small_models.random_params(model)
    foreign, ours, out = folder / "foreign", folder / "ours", folder / "exported"
    small_models.export_ours(model, params, foreign)
    export_tokenizer(vocabulary, foreign)
    assert main.main(["import", f"--from={foreign}", f"--to={ours}"]) == 0
    assert main.main(["export", f"--from={ours}", f"--to={out}"]) == 0
    return model, params, load_tokenizer_vocabulary(out), out


def _with_start_symbol(exported, folder):
    """Copies a tokenizer so that `<pad>`, the symbol that decoders here read first, is no text."""
    folder.mkdir()
    shutil.copy(exported / "tokenizer.json", folder)
    settings = json.loads((exported / "tokenizer_config.json").read_text())
    settings["split_special_tokens"] = False
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _run(python, folder, exported):
    tokenizer = _with_start_symbol(exported, folder / "tokenizer")
    data = folder / "topics.jsonl"
    rows = [{"text": text, "label": i % 3} for i, text in enumerate(TEXTS)]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "topics.yaml").write_text(TASK.format(data=data), "utf-8")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    # Without add_bos_token the tokenizer would add EOS to the prompt, as it does in training.
    model = f"pretrained={exported},tokenizer={tokenizer},add_bos_token=False,dtype=float32"
    arguments = [
        "--model=hf", f"--model_args={model}",
        "--tasks=topics",
        f"--include_path={folder / 'tasks'}", "--device=cpu", "--batch_size=2",
        f"--output_path={folder / 'results'}", "--log_samples",
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX", "PYTHON"))}
    subprocess.run(
        [python, "-m", "lm_eval", *arguments],
        env={**environment, **offline},
        check=True,
        capture_output=True,
    )
    (samples,) = pathlib.Path(folder / "results").rglob("samples_topics_*.jsonl")
    (results,) = pathlib.Path(folder / "results").rglob("results_*.json")
    lines = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    return lines, json.loads(results.read_text())["results"]["topics"]["acc,none"]


@pytest.mark.slow
def test_the_harness_finds_our_likelihoods(harness, tmp_path):
    model, params, vocabulary, exported = _export(tmp_path)
    samples, accuracy = _run(harness, tmp_path, exported)
    pairs = [
        (vocabulary.encode(f"{text} Topic:"), vocabulary.encode(f" {choice}"))
        for text in TEXTS
        for choice in CHOICES
    ]
    shapes = make_shapes(4, 64)
    score = Scorer(
        model, params, small_models.partitioner(), inputs_shapes=shapes, targets_shapes=shapes
    )
    found = score([(np.array(a, np.int32), np.array(b, np.int32)) for a, b in pairs])
    ours = np.array([one.total for one in found]).reshape(len(TEXTS), len(CHOICES))
    theirs = np.array(
        [
            [float(response[0][0]) for response in sample["resps"]]
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.ptp(theirs) > 1
    labels = np.arange(len(TEXTS)) % 3
    assert accuracy == pytest.approx(np.mean(ours.argmax(axis=1) == labels))
