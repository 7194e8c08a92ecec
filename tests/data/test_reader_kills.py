"""A reader that is killed at random moments goes on exactly."""

import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.cache import small_caches
from xlingual.data.cached import CacheSource

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCHES = 40


def _digests(source):
    found = []
    for _, batch in zip(range(BATCHES), source.iterator(), strict=False):
        digest = hashlib.sha256()
        for name in sorted(batch):
            digest.update(np.ascontiguousarray(batch[name]))
        found.append(digest.hexdigest())
    return found


@pytest.mark.parametrize("mode", ["packed", "tokenised"])
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_the_stream_is_that_of_an_uninterrupted_reader(tmp_path, kills, mode):
    cache, folder = tmp_path / "cache", tmp_path / "run"
    folder.mkdir()
    write = small_caches.write_packed if mode == "packed" else small_caches.write_tokenised
    write(cache)
    source = CacheSource(folder=str(cache), batch_size=8, family="encoder_decoder")
    result = subprocess.run(
        [
            sys.executable,
            str(ROOT / "tests/data/reader_killer.py"),
            *map(str, (cache, folder, kills, BATCHES, kills)),
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["kills"], found["status"]) == (kills, 0)
    assert found["seen"] == _digests(source)
    assert len(set(found["seen"])) == BATCHES
