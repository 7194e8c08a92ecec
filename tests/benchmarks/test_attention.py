"""The benchmark of attention says what it can where kernels cannot run."""

import json

from benchmarks import attention
from xlingual.errors import ConfigError


def test_without_any_compiler_of_kernels_it_says_so(capsys, monkeypatch):
    def none(topology):
        raise ConfigError(f"topology={topology!r}: none")

    monkeypatch.setattr(attention, "describe_slice", none)
    assert attention.main(["--lengths", "128"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Kernels need a GPU or a TPU" in lines[0]
    result = json.loads(lines[-1])
    assert result["rows"] == [] and not result["timed"] and result["device"] == "none"


def test_bad_lengths_are_refused(capsys):
    assert attention.main(["--lengths", "512,x"]) == 2
    assert "--lengths='512,x'; expected numbers" in capsys.readouterr().err


def test_rows_are_timed_where_there_is_a_device(monkeypatch):
    """The interpreter stands in for the kernels, a CPU for the device."""
    inner = attention.fused_attention
    monkeypatch.setattr(
        attention, "fused_attention", lambda *args, **kwargs: inner(*args, interpret=True, **kwargs)
    )
    monkeypatch.setattr(attention, "KERNELS", ("cpu",))
    monkeypatch.setattr(attention.jax, "default_backend", lambda: "cpu")
    measure = attention.measure
    monkeypatch.setattr(
        attention,
        "measure",
        lambda args, kind, length, device, platform, timed: measure(
            args, kind, length, device, "gpu", timed=timed
        ),
    )
    monkeypatch.setattr(attention, "KINDS", ("decoder",))
    words = ["--lengths=128", "--tokens=128", "--heads=1", "--d_kv=16", "--steps=2"]
    result = attention.run(attention.make_parser().parse_args(words))
    (row,) = result["rows"]
    assert result["timed"] and row["length"] == 128
    assert row["speed_of_fused"] == row["xla"]["seconds"] / row["fused"]["seconds"]
    assert row["xla"]["temporary_bytes"] > 0
