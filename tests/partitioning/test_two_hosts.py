"""Two processes with four devices each: every host supplies its own rows of one global batch."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = """
import sys

import jax
import numpy as np

jax.distributed.initialize(f"localhost:{sys.argv[1]}", num_processes=2, process_id=int(sys.argv[2]))

from xlingual.errors import ConfigError
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

partitioner = Partitioner(rules=rules.fsdp_tensor(), data=2, fsdp=2, tensor=2)
rows = partitioner.host_rows(8)
whole = np.arange(24, dtype=np.int32).reshape(8, 3)
batch = partitioner.shard_batch({"tokens": whole[rows]})
weigh = partitioner.jit(
    lambda x: (x * np.arange(1, 9)[:, None]).sum(), out_shardings=partitioner.replicated
)
try:
    partitioner.shard_batch({"tokens": whole[:3]})
    refused = "no"
except ConfigError:
    refused = "yes"
total = int(weigh(batch["tokens"]))
found = [rows[0], rows[-1] + 1, batch["tokens"].shape[0], total, refused]
with open(sys.argv[3], "w") as file:  # gloo writes to standard output too, between our words
    print(*found, file=file)
"""


def test_hosts_supply_their_own_rows(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": str(ROOT),
    }
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, port, str(index), str(tmp_path / str(index))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [host.communicate(timeout=180) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    total = sum((3 * 3 * i + 3) * (i + 1) for i in range(8))
    for index, (start, stop) in enumerate([(0, 4), (4, 8)]):
        assert hosts[index].returncode == 0, outputs[index][1][-2000:]
        found = (tmp_path / str(index)).read_text()
        assert found == f"{start} {stop} 8 {total} yes\n"
