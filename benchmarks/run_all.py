"""The table of docs/performance.md: training steps of ours and of the peer, a run for each row.

    python benchmarks/run_all.py                   # the rows that suit this machine's device
    python benchmarks/run_all.py --only 'V=250112' # rows with these words in their name
    python benchmarks/run_all.py --table           # writes the table from the rows that are there

Rows are kept in `docs/performance.jsonl`, one for each name and device; a row that is measured
again replaces the old one. Needs neither TensorFlow nor a network; the peers need torch and
transformers.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS = ROOT / "docs" / "performance.jsonl"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- rows: begin -->", "<!-- rows: end -->"
BASE = "--gin_file=benchmarks/mt5_small.gin"
BLOCKWISE = "--gin_file=gin/losses/blockwise_cross_entropy.gin"
BFLOAT16 = "--gin.ACTIVATION_DTYPE=bfloat16"
BOTH = ("--peer", "--peer_modes=eager,compiled")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table.

    Attributes:
      name: what is measured.
      platform: of JAX, where it is measured.
      flags: of benchmarks/train_step.py.
    """

    name: str
    platform: str
    flags: tuple[str, ...]


def _lengths(inputs: int, targets: int) -> str:
    return f"--gin.TASK_FEATURE_LENGTHS={{'inputs': {inputs}, 'targets': {targets}}}"


def _on_gpu(
    name: str, files: Iterable[str], rows: int, inputs: int, targets: int, vocab_size: int = 250112
) -> Row:
    flags = (
        BASE,
        *(f"--gin_file={file}" for file in files),
        BLOCKWISE,
        BFLOAT16,
        "--gin.SCAN_LAYERS=True",
        f"--gin.VOCAB_SIZE={vocab_size}",
        f"--gin.BATCH_SIZE={rows}",
        _lengths(inputs, targets),
        "--peer",
        "--peer_modes=compiled",
        "--peer_dtype=bfloat16",
        "--steps=6",
    )
    return Row(name=f"{name}, {rows} x ({inputs}, {targets})", platform="gpu", flags=flags)


def _decoder(size: str) -> tuple[str, str]:
    folder = "gin/models/decoder_only"
    return f"{folder}/model.gin", f"{folder}/{size}.gin"


_MT5 = "gin/models/encoder_decoder"
TABLE = (
    Row(name="mT5-small, V=32128, float32", platform="cpu", flags=(BASE, *BOTH)),
    Row(name="mT5-small, V=32128, bfloat16", platform="cpu", flags=(BASE, BFLOAT16, *BOTH)),
    Row(
        name="mT5-small, V=250112, float32",
        platform="cpu",
        flags=(BASE, BLOCKWISE, "--gin.VOCAB_SIZE=250112", "--steps=6", *BOTH),
    ),
    Row(
        name="mT5-small, V=250112, bfloat16",
        platform="cpu",
        flags=(BASE, BLOCKWISE, "--gin.VOCAB_SIZE=250112", BFLOAT16, "--steps=6", *BOTH),
    ),
    _on_gpu("mT5-base", (f"{_MT5}/base.gin",), 32, 1024, 229),
    _on_gpu("mT5-large", (f"{_MT5}/large.gin",), 16, 1024, 229),
    _on_gpu("mT5-xl", (f"{_MT5}/xl.gin",), 8, 1024, 229),
    _on_gpu("mT5-base", (f"{_MT5}/base.gin",), 16, 2048, 512),
    _on_gpu("Llama 3.2 1B", _decoder("llama3_1b"), 8, 1024, 1024, 128256),
)
"""Every row; those of one platform are measured in one call."""


def main() -> int:
    """Measures the rows of this machine's device and writes the table; 1 if a row failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="a part of the name of the rows to measure")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--peer_python", default=sys.executable, help="has torch and transformers")
    parser.add_argument("--list", action="store_true", help="print the commands, measure nothing")
    args = parser.parse_args()
    platform = jax.default_backend()
    rows = [row for row in TABLE if row.platform == platform and args.only in row.name]
    failed = 0
    for row in rows if not args.table else ():
        command = ["benchmarks/train_step.py", *row.flags, f"--peer_python={args.peer_python}"]
        if args.list:
            print("python", *command)
            continue
        print(row.name, flush=True)
        failed += not measure(row.name, [sys.executable, *command])
    if not args.list:
        write_table()
    return int(failed > 0)


def measure(name: str, command: list[str]) -> bool:
    """Runs a benchmark in a process of its own and keeps its last line; False if it failed."""
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{name}: failed with exit status {done.returncode}", file=sys.stderr)
        return False
    result = json.loads(done.stdout.splitlines()[-1])
    row = {"name": name, "seconds_in_all": time.monotonic() - begun, **result}
    kept = [old for old in read_rows() if (old["name"], old["device"]) != (name, row["device"])]
    ROWS.write_text("".join(json.dumps(line) + "\n" for line in [*kept, row]))
    return True


def read_rows() -> list[dict[str, Any]]:
    """Returns what was measured so far."""
    lines = ROWS.read_text().splitlines() if ROWS.exists() else []
    return [json.loads(line) for line in lines]


def write_table() -> None:
    """Writes the rows into the page, between its two marks."""
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    lines = [
        "| shape | device | tokens/s | MFU | peak memory | peer: tokens/s | peak memory | ratio |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(row) for row in read_rows()),
    ]
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")


def _line(row: Mapping[str, Any]) -> str:
    peer = row["peer"]
    cells = (
        row["name"],
        row["device"],
        f"{row['tokens_per_second']:,.0f}",
        f"{row['mfu']:.2f}",
        f"{row['peak_memory_bytes'] / 2**30:.1f} GiB",
        f"{peer['tokens_per_second']:,.0f} ({peer['mode']}, {peer['dtype']})",
        f"{peer['peak_memory_bytes'] / 2**30:.1f} GiB",
        f"{row['ratio_to_peer']:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
