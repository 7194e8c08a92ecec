"""A wheel carries the gin files and runs from any folder."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "xlingual", "tasks", "gin"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, cwd=folder)
    (path,) = folder.glob("xlingual-*.whl")
    return path


def test_the_wheel_holds_every_gin_file(wheel):
    expected = {p.relative_to(ROOT).as_posix() for p in (ROOT / "gin").rglob("*.gin")}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(n for n in names if n.endswith("METADATA"))
        requires = archive.read(metadata).decode()
    assert expected and {f"xlingual/configs/{name}" for name in expected} <= names
    core = [line for line in requires.splitlines() if line.startswith("Requires-Dist")]
    core = [line for line in core if "extra ==" not in line]
    assert core and not any("tensorflow" in line or "git+" in line for line in core)


def test_the_wheel_runs_elsewhere(wheel, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    command = [sys.executable, "-m", "xlingual.cli.main", "train", "--dry_run"]
    command += ["--gin_file=gin/experiments/toy.gin", "--gin.MODEL_DIR=model"]
    environment = {**os.environ, "PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "MODEL_DIR = 'model'" in result.stdout
