"""Models of `transformers`, made and saved once."""

import pytest


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Name of a kind -> a random model of transformers and the folder it is saved in."""
    pytest.importorskip("torch", reason="the oracle runs in PyTorch, which is not installed")
    pytest.importorskip("transformers", reason="the oracle is transformers, which is not installed")
    from tests.checkpointing import oracle

    made = {}

    def get(name):
        if name not in made:
            model = oracle.make_theirs(oracle.KINDS[name])
            folder = tmp_path_factory.mktemp(name) / "theirs"
            model.save_pretrained(folder)
            made[name] = model, folder
        return made[name]

    return get
