"""Equal programs are compiled once a session: a resumed run is the program it was before."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _compile_once(compilation_cache):
    """Every test here reads and writes the session's compiled programs."""
