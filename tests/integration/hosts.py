"""Starts several processes of one run on loopback, with gloo between them."""

import os
import pathlib
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAKE = ("-m", "tests.integration.host_program")
TRAIN = ("-m", "xlingual.cli.main", "train")
NUM_DEVICES = 4


class Hosts:
    """Processes that share `NUM_DEVICES` devices; ends them when it is left.

    Attributes:
      runs: the processes.
    """

    def __init__(self, count, folder, program, *arguments, heartbeat=10, own=()):
        """Starts them; `own` holds further arguments of each."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={NUM_DEVICES // count}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0"),
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.logs = [folder / f"log_{index}_of_{count}" for index in range(count)]
        self.runs = []
        for index, log in enumerate(self.logs):
            place = ["--coordinator_address", address, "--num_processes", str(count)]
            place += ["--process_id", str(index), "--heartbeat_timeout_seconds", str(heartbeat)]
            more = own[index] if own else ()
            with log.open("w") as output:
                self.runs.append(
                    subprocess.Popen(
                        [sys.executable, *program, *arguments, *place, *more],
                        env=environment,
                        cwd=ROOT,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for run in self.runs:
            run.kill()
            run.wait()

    def wait(self, seconds=240):
        """Returns the exit status of each."""
        end = time.monotonic() + seconds
        return [run.wait(timeout=max(end - time.monotonic(), 0.1)) for run in self.runs]

    def wait_for(self, text, index=0, seconds=240):
        """Returns when a process has written `text`."""
        end = time.monotonic() + seconds
        while text not in self.text(index):
            assert self.runs[index].poll() is None, self.text(index)
            assert time.monotonic() < end, f"no {text!r}: {self.text(index)}"
            time.sleep(0.05)

    def text(self, index):
        """Returns what a process has written."""
        return self.logs[index].read_text()
