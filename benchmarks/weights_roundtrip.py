"""Memory and time of a random model in the Hugging Face layout on its way in and out again.

    python benchmarks/weights_roundtrip.py --size=llama_3b --folder=/tmp/roundtrip

Every phase is a process of its own, so that its peak memory is its own. The exported files must be
those that were imported, byte for byte where both have the same dtype. Prints one line of JSON and
removes the folder.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

import numpy as np

from xlingual.checkpointing.huggingface_export import ExportOptions, export_huggingface
from xlingual.checkpointing.layout import make_model, param_shapes
from xlingual.checkpointing.manager import describe_arrays
from xlingual.checkpointing.mapping import flatten
from xlingual.checkpointing.safetensors_files import digest_file
from xlingual.checkpointing.weights import WeightsInfo
from xlingual.models.config import TransformerConfig
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel

_LLAMA = TransformerConfig(
    vocab_size=128256,
    d_model=2048,
    d_ff=8192,
    d_kv=64,
    num_heads=32,
    num_kv_heads=8,
    num_encoder_layers=0,
    num_decoder_layers=16,
    position_encoding="rotary",
    mlp_activation="silu",
    scale_scores=True,
    logits_via_embedding=True,
    scale_tied_logits=False,
)
SIZES = {
    "tiny": dataclasses.replace(_LLAMA, vocab_size=512, d_model=64, d_ff=96, num_decoder_layers=2),
    "llama_1b": _LLAMA,
    "llama_3b": dataclasses.replace(
        _LLAMA, d_model=3072, num_heads=24, d_kv=128, num_decoder_layers=28
    ),
}
"""Shapes of published decoders (Llama 3.2 1B and 3B)."""


def main() -> None:
    """Runs the phases and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--folder", required=True, help="new folder; removed at the end")
    parser.add_argument("--file_dtype", default="float32", help="of the foreign files")
    parser.add_argument("--dtype", default="float32", help="of the imported parameters")
    parser.add_argument("--make", action="store_true", help="only write the random model")
    args = parser.parse_args()
    folder = pathlib.Path(args.folder)
    if args.make:
        write_random(SIZES[args.size], folder / "foreign", args.file_dtype)
        return
    folder.mkdir(parents=True)
    try:
        print(json.dumps(measure(args, folder)))
    finally:
        shutil.rmtree(folder)


def measure(args: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """Returns seconds and peak memory of each phase, and whether the files came back."""
    verb = [sys.executable, "-m", "xlingual.cli.main"]
    foreign, ours, back = (folder / name for name in ("foreign", "ours", "back"))
    make = [sys.executable, __file__, "--make", f"--size={args.size}", f"--folder={folder}"]
    phases = {
        "make": [*make, f"--file_dtype={args.file_dtype}"],
        "import": [*verb, "import", f"--from={foreign}", f"--to={ours}", f"--dtype={args.dtype}"],
        "export": [*verb, "export", f"--from={ours}", f"--to={back}", f"--dtype={args.file_dtype}"],
    }
    sizes = [math.prod(s.shape) for s in flatten(shapes_of(SIZES[args.size])).values()]
    itemsize = 4 if args.dtype == "float32" else 2
    result: dict[str, Any] = {
        "size": args.size,
        "file_dtype": args.file_dtype,
        "dtype": args.dtype,
        "parameters": sum(sizes),
        "parameter_bytes": sum(sizes) * itemsize,
        "largest_parameter_bytes": max(sizes) * itemsize,
    }
    for name, command in phases.items():
        result |= {f"{name}_{key}": value for key, value in run(command).items()}
    same = [digest_file(path) == digest_file(back / path.name) for path in files(foreign)]
    result["files_came_back"] = all(same) and len(files(back)) == len(same)
    return result


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the safetensors files of a folder."""
    return sorted(folder.glob("*.safetensors"))


def run(command: list[str]) -> dict[str, float]:
    """Runs a process; returns its seconds and its peak memory."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "peak_rss_bytes": usage.ru_maxrss * 1024,
    }


def shapes_of(config: TransformerConfig) -> Any:
    """Returns the parameter tree of a decoder."""
    return param_shapes(make_model("decoder_only", config), Partitioner(rules=data_parallel()))


def write_random(config: TransformerConfig, folder: pathlib.Path, dtype: str) -> None:
    """Writes a random model in the Hugging Face layout, one parameter at a time."""
    shapes = shapes_of(config)
    flat = flatten(shapes)

    def read(path: str) -> np.ndarray:
        rng = np.random.default_rng(len(path))
        values = rng.integers(-127, 128, flat[path].shape, np.int8)
        return np.multiply(values, np.float32(2**-10), dtype=np.float32)

    info = WeightsInfo(
        family="decoder_only",
        config=dataclasses.asdict(config),
        source="random",
        arrays=describe_arrays(shapes),
    )
    options = ExportOptions(dtype=dtype)
    export_huggingface(folder, info, read, identity={}, options=options)


if __name__ == "__main__":
    main()
