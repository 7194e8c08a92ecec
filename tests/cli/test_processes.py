"""Where the processes of a run meet, from options, the environment or the cluster."""

import argparse
import subprocess
import sys

import pytest

from xlingual.cli import processes
from xlingual.errors import ConfigError


def _wanted(*options, **environment):
    parser = argparse.ArgumentParser()
    processes.add_process_arguments(parser)
    return processes.wanted_processes(parser.parse_args(options), environment)


def test_a_run_is_alone_unless_it_is_told_otherwise():
    assert _wanted() is None
    assert _wanted(SLURM_PROCID="3", TPU_WORKER_ID="1") is None
    assert _wanted("--multiprocess") == processes.Processes()


@pytest.mark.parametrize("name", ["tpu", "gke", "slurm", "ompi"])
def test_a_cluster_that_knows_its_processes_needs_no_address(name):
    found = _wanted("--cluster", name, "--heartbeat_timeout_seconds", "12")
    assert found == processes.Processes(cluster=name, heartbeat_timeout_seconds=12)


def test_every_cluster_is_one_that_jax_knows():
    from jax._src import clusters

    known = {cluster.name for cluster in clusters.ClusterEnv._cluster_types}
    assert {name for name in processes.CLUSTERS.values() if name} - {"deactivate"} <= known


def test_the_place_comes_from_options_or_the_environment_and_options_win():
    environment = {
        "JAX_COORDINATOR_ADDRESS": "one:1234",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "3",
    }
    place = {"coordinator_address": "one:1234", "num_processes": 4, "process_id": 3}
    assert _wanted(**environment) == processes.Processes(**place)
    options = ["--process_id", "0", "--coordinator_address", "two:99"]
    changed = {**place, "process_id": 0, "coordinator_address": "two:99"}
    assert _wanted(*options, **environment) == processes.Processes(**changed)


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (["--num_processes", "2"], {}, r"\['coordinator_address', 'process_id'\] are missing"),
        (["--cluster", "address"], {}, "JAX_COORDINATOR_ADDRESS"),
        ([], {"JAX_PROCESS_ID": "two"}, "JAX_PROCESS_ID='two'; expected a number"),
        (["--multiprocess", "--heartbeat_timeout_seconds", "0"], {}, "heartbeat_timeout_seconds=0"),
        (
            ["--coordinator_address", "a", "--num_processes", "2", "--process_id", "0"],
            {},
            "expected HOST:PORT",
        ),
        (
            ["--coordinator_address", "a:1", "--num_processes", "2", "--process_id", "2"],
            {},
            "process_id=2, num_processes=2; expected 0 <=",
        ),
    ],
)
def test_a_place_that_cannot_be_is_refused(options, environment, message):
    with pytest.raises(ConfigError, match=message):
        _wanted(*options, **environment)


def test_an_error_ends_the_process_at_once_with_its_message():
    """It does not wait at the end of the run for processes that wait for it."""
    code = (
        "from xlingual.cli import processes\n"
        "from xlingual.errors import ConfigError\n"
        "processes._connect = lambda wanted: None\n"
        "with processes.joined(processes.Processes()):\n"
        "    raise ConfigError('batch_size=3; expected 4')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    expected = "xlingual: process 0 of 1 ends, and the run with it: error: batch_size=3; expected 4"
    assert expected in ended.stderr
