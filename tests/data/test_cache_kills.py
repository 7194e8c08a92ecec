"""A cache job that is killed at random points ends with the bytes of one that was left alone."""

import json
import pathlib
import subprocess
import sys

import pytest

from tests.data import cached_tasks

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "num_kills", "num_files"),
    [
        pytest.param(cached_tasks.TASKS[1], 2, 3, marks=pytest.mark.slow),
        pytest.param(cached_tasks.MIXTURE, 50, 5, marks=pytest.mark.slow),
    ],
)
def test_a_job_killed_at_random_points_gives_the_same_bytes(tmp_path, name, num_kills, num_files):
    command = [sys.executable, "-m", "tests.data.cache_killer"]
    command += [str(tmp_path), name, str(num_kills), "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=3600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("finished") >= 1
    assert found == {"kills": num_kills, "same": True, "files": num_files}
