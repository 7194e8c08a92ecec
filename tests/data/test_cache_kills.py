"""A cache job that is killed at random points ends with the bytes of one that was left alone."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "num_kills", [2, pytest.param(50, marks=pytest.mark.slow)], ids=["2", "50"]
)
def test_a_job_killed_at_random_points_gives_the_same_bytes(tmp_path, num_kills):
    command = [sys.executable, "-m", "tests.data.cache_killer", str(tmp_path), str(num_kills), "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("finished") >= 1
    assert found == {"kills": num_kills, "same": True, "files": 7}
