"""Where every parameter and every moment of an mT5-small lies, for each rule table.

After a wanted change, write the files of `tests/golden` anew and read the difference:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 \
        python tests/partitioning/test_golden_shardings.py
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest

from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.optimizers.adafactor import Adafactor
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.specs import split_boxes

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAMILIES = {"encoder_decoder": EncoderDecoder, "decoder_only": DecoderOnly}
MESHES = {
    "data_parallel": {"data": 8},
    "fsdp": {"data": 2, "fsdp": 4},
    "fsdp_tensor": {"data": 1, "fsdp": 2, "tensor": 4},
    "fsdp_tensor_sequence": {"data": 1, "fsdp": 2, "tensor": 4},
}
CASES = [(family, table) for family in FAMILIES for table in MESHES]


def describe(family, table):
    """One line an array: path -> shape, mesh axes of each dimension."""
    model = FAMILIES[family](
        TransformerConfig(
            vocab_size=250_112,
            d_model=512,
            d_ff=1024,
            d_kv=64,
            num_heads=6,
            num_encoder_layers=8 if family == "encoder_decoder" else 0,
            num_decoder_layers=8,
        )
    )
    spec = {name: jax.ShapeDtypeStruct((8, 8), jnp.int32) for name in model.requires_features}
    params, axes = split_boxes(jax.eval_shape(lambda: model.init(jax.random.key(0), spec)))
    optimizer = Adafactor()
    shapes = {"params": params, "opt_state": jax.eval_shape(optimizer.make(axes).init, params)}
    all_axes = {"params": axes, "opt_state": optimizer.state_axes(params, axes)}
    partitioner = Partitioner(rules=getattr(rules, table)(), **MESHES[table])
    shardings = jax.tree.leaves(partitioner.shardings(all_axes, shapes))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{list(leaf.shape)} {' '.join(map(str, sharding.spec))}".strip()
        )
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_leaves_with_path(shapes), shardings, strict=True
        )
    }


def golden_file(family, table):
    return ROOT / "tests" / "golden" / f"shardings_{family}_{table}.json"


@pytest.mark.parametrize(("family", "table"), CASES)
def test_shardings_are_those_of_the_golden_file(family, table):
    expected = json.loads(golden_file(family, table).read_text(encoding="utf-8"))
    assert describe(family, table) == expected, f"wanted? run: python {pathlib.Path(__file__).name}"


if __name__ == "__main__":
    for case in CASES:
        text = json.dumps(describe(*case), indent=1, sort_keys=True) + "\n"
        golden_file(*case).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{golden_file(*case)}\n")
