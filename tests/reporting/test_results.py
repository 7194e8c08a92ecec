import json
import os
import resource

import pytest

from xlingual.reporting.results import peak_rss_bytes, write_results


def test_results_are_written_whole(tmp_path):
    path = write_results(tmp_path, {"directions": {"en-de": {"chrf": 80.5}}, "name": "é"})
    assert path == tmp_path / "results.json"
    assert json.loads(path.read_text(encoding="utf-8"))["directions"]["en-de"]["chrf"] == 80.5
    with pytest.raises(TypeError):
        write_results(tmp_path, {"bad": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "é"
    write_results(tmp_path, {})
    assert json.loads(path.read_text()) == {}
    assert os.listdir(tmp_path) == ["results.json"]


def test_peak_memory_is_in_bytes():
    peak = peak_rss_bytes()
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak == pytest.approx(kib * 1024, rel=0.01)
    assert 50e6 < peak < 1e12
