"""Beam hands out the work and changes no byte, for any runner or number of workers."""

import pytest

from tests.data import cached_tasks
from xlingual.data import cache_job

pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")

import functools

from xlingual.data import cache_pipeline
from xlingual.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module", autouse=True)
def tasks():
    cached_tasks.register()
    yield
    cached_tasks.unregister()


def _make(root, flags=None, **settings):
    """Returns the files of a cache, made by Beam if there are flags."""
    job = cache_job.CacheJob(
        **{"name": cached_tasks.MIXTURE, "splits": ("validation",), "num_shards": 3, **settings},
        output=str(root),
    )
    distribute = None
    if flags is not None:
        distribute = functools.partial(
            cache_pipeline.distribute, register_tasks=cached_tasks.register, beam_options=flags
        )
    cache_job.make_cache(job, distribute)
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--direct_num_workers=4", "--direct_running_mode=multi_threading"],
        pytest.param(
            ["--direct_num_workers=4", "--direct_running_mode=multi_processing"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["one", "threads", "processes"],
)
def test_workers_change_nothing(tmp_path, flags):
    expected = _make(tmp_path / "here")
    assert len(expected) == 7
    assert _make(tmp_path / "beam", flags) == expected


def test_errors_of_workers_reach_the_user(tmp_path):
    with pytest.raises(ConfigError, match=r"task 'cached_de': an example has .* `chunk` takes"):
        _make(tmp_path, [], packing="chunk")
