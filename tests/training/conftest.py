"""Equal programs are compiled once a session: these tests start many runs of the same few."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _compile_once(compilation_cache):
    """Every test here reads and writes the session's compiled programs."""
