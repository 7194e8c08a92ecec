"""Names, shapes, dtypes and logical axes of every parameter, and their published numbers.

After a wanted change, write the files of `tests/golden` anew and read the difference:

    python tests/models/test_parameter_trees.py
"""

import json
import math
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest

from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.specs import split_boxes

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
MT5_VOCAB = 250_112
SIZES = {
    # d_model, heads, d_kv, d_ff, layers of a stack, parameters (OBJECTIVES 1.3)
    "small": (512, 6, 64, 1024, 8, 300_176_768),
    "base": (768, 12, 64, 2048, 12, 582_401_280),
    "large": (1024, 16, 64, 2816, 24, 1_229_581_312),
    "xl": (2048, 32, 64, 5120, 24, 3_742_619_648),
    "xxl": (4096, 64, 64, 10240, 24, 12_921_057_280),
}
CASES = {
    "encoder_decoder": ("encoder_decoder", {}),
    "encoder_decoder_unrolled_per_layer_tied": (
        "encoder_decoder",
        {"scan_layers": False, "per_layer_relpos": True, "logits_via_embedding": True},
    ),
    "decoder_only": ("decoder_only", {}),
    "decoder_only_tied": ("decoder_only", {"logits_via_embedding": True}),
}


def make(family, size, **changes):
    d_model, heads, d_kv, d_ff, layers, _ = SIZES[size]
    fields = {
        "vocab_size": MT5_VOCAB,
        "d_model": d_model,
        "d_ff": d_ff,
        "d_kv": d_kv,
        "num_heads": heads,
        "num_encoder_layers": layers if family == "encoder_decoder" else 0,
        "num_decoder_layers": layers,
    }
    model = EncoderDecoder if family == "encoder_decoder" else DecoderOnly
    return model(TransformerConfig(**{**fields, **changes}))


def parameter_tree(model):
    """(shapes, logical axes) of the model's parameters; no array is made."""
    spec = {name: jax.ShapeDtypeStruct((2, 8), jnp.int32) for name in model.requires_features}
    return split_boxes(jax.eval_shape(lambda key: model.init(key, spec), jax.random.key(0)))


def count(model):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(parameter_tree(model)[0]))


def describe(model):
    """One line a parameter: path -> shape, dtype, axes."""
    shapes, axes = parameter_tree(model)
    names = [
        "/".join(str(key.key) for key in path)
        for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]
    ]
    leaves = zip(names, jax.tree.leaves(shapes), jax.tree.leaves(axes), strict=True)
    return {
        name: f"{leaf.dtype} {list(leaf.shape)} {' '.join(map(str, spec))}"
        for name, leaf, spec in leaves
    }


def golden_file(case):
    return GOLDEN / f"parameters_{case}.json"


@pytest.mark.parametrize("size", SIZES)
def test_encoder_decoder_has_the_published_number_of_parameters(size):
    assert count(make("encoder_decoder", size)) == SIZES[size][-1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_decoder_only_has_the_number_of_its_formula(size, tied):
    d, h, k, f, layers, _ = SIZES[size]
    expected = (1 if tied else 2) * MT5_VOCAB * d + layers * (4 * d * h * k + 3 * d * f + 2 * d)
    expected += d + 32 * h
    assert count(make("decoder_only", size, logits_via_embedding=tied)) == expected


def test_a_table_of_positions_per_layer_adds_32_numbers_a_head():
    for family, stacks in (("encoder_decoder", 2), ("decoder_only", 1)):
        extra = count(make(family, "small", per_layer_relpos=True)) - count(make(family, "small"))
        assert extra == stacks * 7 * 32 * 6


@pytest.mark.parametrize("case", CASES)
def test_parameters_are_those_of_the_golden_file(case):
    family, changes = CASES[case]
    found = describe(make(family, "small", **changes))
    expected = json.loads(golden_file(case).read_text(encoding="utf-8"))
    assert found == expected, f"wanted? then run: python {pathlib.Path(__file__).name}"


@pytest.mark.parametrize("case", CASES)
def test_every_axis_has_a_name(case):
    family, changes = CASES[case]
    shapes, axes = parameter_tree(make(family, "small", **changes))
    for leaf, spec in zip(jax.tree.leaves(shapes), jax.tree.leaves(axes), strict=True):
        assert leaf.dtype == jnp.float32
        assert len(spec) == len(leaf.shape) and None not in spec


if __name__ == "__main__":
    for name, (model_family, switches) in CASES.items():
        text = json.dumps(describe(make(model_family, "small", **switches)), indent=1)
        golden_file(name).write_text(text + "\n", encoding="utf-8")
        sys.stdout.write(f"wrote {golden_file(name)}\n")
