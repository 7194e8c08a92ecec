"""The console script: verbs are found, help shows an example, bad input exits with 2."""

import argparse
import base64
import hashlib
import os
import pathlib
import subprocess
import sys

import pytest

from xlingual.cli import doctor, main
from xlingual.errors import ConfigError


def test_every_verb_has_help_with_an_example(capsys):
    names = main.verbs()
    assert {"train", "inspect", "doctor"} <= set(names)
    assert main.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in names:
        assert name in overview
        with pytest.raises(SystemExit) as stop:
            main.main([name, "--help"])
        assert stop.value.code == 0
        assert f"xlingual {name}" in capsys.readouterr().out.split("example:")[1]


def test_an_unknown_verb_is_refused(capsys):
    assert main.main(["trane"]) == 2
    assert "unknown verb 'trane'" in capsys.readouterr().err


def test_unknown_options_are_refused(capsys):
    for argv in (["train", "--gin_fil=x"], ["doctor", "--gin.A=3"]):
        with pytest.raises(SystemExit) as stop:
            main.main(argv)
        assert stop.value.code == 2
        assert "unrecognised arguments" in capsys.readouterr().err


def test_overrides_are_collected_spaces_and_all():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?")
    parser.set_defaults(gin_overrides=[])
    args = main._parse(parser, ["--gin.A={'b': 1, 'c': 2}", "--gin.x.y=z=1"])
    assert args.gin_overrides == [("A", "{'b': 1, 'c': 2}"), ("x.y", "z=1")] and args.name is None
    assert main._parse(parser, ["task"]).gin_overrides == []


def test_bad_input_is_one_line_without_a_traceback(capsys):
    assert main.main(["train", "--gin_file=nowhere.gin"]) == 2
    error = capsys.readouterr().err
    assert "xlingual train: error:" in error and "nowhere.gin" in error
    assert "Traceback" not in error and error.count("\n") == 1
    assert main.main(["train"]) == 2
    assert "--gin_file" in capsys.readouterr().err


def test_gins_call_trail_is_cut_from_the_message():
    error = ConfigError("bad x\n  In call to configurable 'y' (<class 'z'>)")
    assert main._message(error) == "bad x"


def test_doctor_passes_here_and_prints_versions(capsys):
    assert main.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "jax" in out and "no problems found" in out and "bfloat16 products" in out


class _Distribution:
    version = "1.0"

    def __init__(self, root, files):
        self.root, self.files = root, files

    def locate_file(self, path):
        return self.root / str(path)


class _File(str):
    suffix = ".py"

    class hash:
        mode = "sha256"
        value = base64.urlsafe_b64encode(hashlib.sha256(b"release").digest()).decode().rstrip("=")


def test_doctor_finds_files_that_a_nightly_overwrote(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_bytes(b"release")
    monkeypatch.setattr(
        doctor.importlib.metadata,
        "distribution",
        lambda name: _Distribution(tmp_path, [_File("a.py")]),
    )
    assert doctor.mixed_release("seqio") == []
    (tmp_path / "a.py").write_bytes(b"nightly")
    (problem,) = doctor.mixed_release("seqio")
    assert "seqio-nightly" in problem
    assert "pip install --force-reinstall --no-deps seqio==1.0" in problem


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize("own", [None, "glibc.malloc.check=0"])
def test_the_console_script_starts_anew_once_with_huge_pages(own):
    code = (
        "import os, sys; print('begin', flush=True); from xlingual.cli import main;"
        "main.restart_with_huge_pages(); print(os.environ['GLIBC_TUNABLES'], sys.argv[1:])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if own:
        environment["GLIBC_TUNABLES"] = own
    command = [sys.executable, "-c", code, "a b", "--c"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    begins = 1 if own else 2
    found = own or "glibc.malloc.hugetlb=1"
    assert done.stdout.splitlines() == ["begin"] * begins + [f"{found} ['a b', '--c']"]


def test_compiled_programs_are_kept_where_nothing_else_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    main.keep_compiled_programs()
    folder = pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder.parent == tmp_path / "xlingual" / "programs"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    main.keep_compiled_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
