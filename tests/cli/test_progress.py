"""What takes long says how far it is, in a terminal only."""

import io

import pytest
from rich.console import Console

from tests.checkpointing import small_models
from xlingual.checkpointing import huggingface_export
from xlingual.checkpointing.huggingface import open_huggingface
from xlingual.checkpointing.layout import make_model, param_shapes
from xlingual.checkpointing.mapping import read_params
from xlingual.cli import progress


def test_every_byte_of_weights_is_counted_once_out_and_in(tmp_path, monkeypatch):
    model = make_model("encoder_decoder", small_models.CONFIG)
    params = small_models.random_params(model)
    out: list[tuple[int, int]] = []
    real = huggingface_export.export_huggingface

    def shown(*args, **keywords):
        return real(*args, **keywords, show=lambda done, total: out.append((done, total)))

    monkeypatch.setattr(small_models, "export_huggingface", shown)
    small_models.export_ours(model, params, tmp_path / "out", max_shard_bytes=50_000)
    checkpoint = open_huggingface(tmp_path / "out")
    shapes = param_shapes(model, small_models.partitioner())
    back: list[tuple[int, int]] = []
    read_params(
        shapes,
        checkpoint.rules,
        checkpoint.source,
        checkpoint.ignored,
        lambda done, total: back.append((done, total)),
    )
    for seen in (out, back):
        done = [d for d, _ in seen]
        assert done == sorted(done) and len(set(done)) > 20
        assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] > 50_000
        assert len({total for _, total in seen}) == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_for_terminals(terminal, monkeypatch):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=80)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    with progress.byte_progress("import") as show:
        show(5_000_000, 10_000_000)
    assert ("import" in text.getvalue()) == terminal
