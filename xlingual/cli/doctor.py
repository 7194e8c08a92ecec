"""`xlingual doctor`: is this machine fit to train on, and are the libraries what they claim?

t5 depends on `seqio-nightly` and `tfds-nightly`, which write the same folders as the releases
`seqio` and `tensorflow-datasets`. Which of the two lies on disk depends on the installer's order,
so the files are compared with the hashes that the release recorded.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import platform
import shutil

import jax
import psutil
from rich.console import Console
from rich.table import Table

from xlingual.reporting.utilization import measured_product_flops

HELP = "print versions, devices and memory; fail when installed libraries are mixed up"
EXAMPLE = "xlingual doctor"
PACKAGES = [
    "xlingual",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "gin-config",
    "numpy",
    "sentencepiece",
    "sacrebleu",
    "tensorboardX",
    "seqio",
    "t5",
    "tensorflow",
    "tensorflow-datasets",
    "protobuf",
    "libtpu",
]
WORTH_IT = 1.2
"""Speed of products in bfloat16 over float32 from which on a CPU should use it."""
RELEASES = {"seqio": "seqio-nightly", "tensorflow-datasets": "tfds-nightly"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb: none."""


def main(args: argparse.Namespace) -> int:
    """Prints what was found; returns 1 with the remedy when something is wrong."""
    del args
    console = Console()
    table = Table("what", "found", title="xlingual doctor")
    table.add_row("python", platform.python_version())
    for name in PACKAGES:
        table.add_row(name, version(name) or "not installed")
    devices = jax.devices()
    table.add_row("devices", f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
    if devices[0].platform == "cpu":
        table.add_row("bfloat16 products", _bfloat16(devices[0]))
    table.add_row("processes", str(jax.process_count()))
    table.add_row("device memory", _device_memory(devices[0]))
    memory = psutil.virtual_memory()
    table.add_row("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB")
    table.add_row("disk here", f"{shutil.disk_usage('.').free / 2**30:.1f} GiB free")
    console.print(table)
    problems = [text for name in RELEASES for text in mixed_release(name)]
    for problem in problems:
        console.print(f"problem: {problem}", style="red", soft_wrap=True)
    if not problems:
        console.print("no problems found")
    return 1 if problems else 0


def version(name: str) -> str | None:
    """Returns the installed version of a distribution, None when it is absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def mixed_release(name: str) -> list[str]:
    """Returns one message with the remedy when `name`'s files are not those of its release.

    Args:
      name: a distribution; one that is not installed is no problem.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        nightly = RELEASES.get(name)
        if nightly and version(nightly):
            return [f"{nightly} is installed without {name}; run: {_remedy([name])}"]
        return []
    changed = [str(f) for f in distribution.files or [] if _differs(distribution, f)]
    if not changed:
        return []
    return [
        f"{len(changed)} files of {name} {distribution.version} are not the release's (first: "
        f"{changed[0]}), probably overwritten by {RELEASES.get(name, 'another package')}; "
        f"run: {_remedy([f'{name}=={distribution.version}'])}"
    ]


def _differs(
    distribution: importlib.metadata.Distribution, path: importlib.metadata.PackagePath
) -> bool:
    if path.suffix != ".py" or path.hash is None or path.hash.mode != "sha256":
        return False
    file = distribution.locate_file(path)
    try:
        with open(str(file), "rb") as stream:
            digest = hashlib.sha256(stream.read()).digest()
    except OSError:
        return True
    return base64.urlsafe_b64encode(digest).decode().rstrip("=") != path.hash.value


def _remedy(requirements: list[str]) -> str:
    return f"pip install --force-reinstall --no-deps {' '.join(requirements)}"


def _device_memory(device: jax.Device) -> str:
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    return f"{limit / 2**30:.1f} GiB each" if limit else "not reported by this platform"


def _bfloat16(device: jax.Device) -> str:
    """Says whether a CPU multiplies faster in bfloat16, which few of them do."""
    rates = {dtype: measured_product_flops(device, dtype) for dtype in ("float32", "bfloat16")}
    ratio = rates["bfloat16"] / rates["float32"]
    advice = "ACTIVATION_DTYPE='bfloat16' pays" if ratio > WORTH_IT else "stay with float32"
    return f"{ratio:.1f} times as fast as in float32: {advice}"
