"""The TPU scripts parse, print what they would do, and do nothing twice; gcloud is a fake."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tpu"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
_TARGET = ["--name", "pod", "--zone", "us-west4-a"]
_VM = "gcloud compute tpus tpu-vm"
_QUEUED = "gcloud compute tpus queued-resources"
_FAKE_GCLOUD = """#!/usr/bin/env bash
echo "gcloud $*" >>"$CALLS"
case "$4 $5" in
  "describe "*)
    [[ -n "$STATE" ]] || { echo "${DESCRIBE_ERROR:-ERROR: NOT_FOUND: no such}" >&2; exit 1; }
    echo "$STATE"
    ;;
  "list "*) printf 'pod\\tREADY\\n' ;;
esac
"""


@pytest.fixture
def call(tmp_path):
    """Runs a script with a fake gcloud first on PATH; returns the process and gcloud's calls."""
    fake = tmp_path / "bin" / "gcloud"
    fake.parent.mkdir()
    fake.write_text(_FAKE_GCLOUD)
    fake.chmod(0o755)
    log = tmp_path / "calls"

    def run(script, *options, state="", answer="", **environment):
        log.write_text("")
        path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.run(
            [str(FOLDER / script), *options],
            input=answer,
            text=True,
            capture_output=True,
            timeout=60,
            env={"PATH": path, "CALLS": str(log), "STATE": state, **environment},
        )
        return process, log.read_text().splitlines()

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script):
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert os.access(script, os.X_OK) == (script.name != "common.sh")


def test_shellcheck_is_content():
    beside_python = pathlib.Path(sys.executable).parent
    found = shutil.which("shellcheck", path=f"{beside_python}{os.pathsep}{os.environ['PATH']}")
    assert found, "the extra `dev` installs shellcheck"
    command = [found, "-x", "-P", str(FOLDER), *map(str, SCRIPTS)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "script, options, expected",
    [
        (
            "create.sh",
            ["--type", "v5litepod-16", "--spot", "--project", "p"],
            f"{_QUEUED} create pod --zone=us-west4-a --project=p --node-id=pod "
            "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite --spot",
        ),
        (
            "create.sh",
            ["--type", "v9-8", "--version", "newest", "--num-slices", "4", "--reservation", "r"],
            f"{_QUEUED} create pod --zone=us-west4-a --node-count=4 --node-prefix=pod "
            "--accelerator-type=v9-8 --runtime-version=newest --reserved --reservation=r",
        ),
        (
            "logs.sh",
            ["--worker", "3", "--lines", "7", "--no-follow"],
            f"{_VM} ssh pod --zone=us-west4-a --worker=3 '--command=tail -n 7 xlingual.log'",
        ),
        ("delete.sh", [], f"{_QUEUED} delete pod --zone=us-west4-a --force --quiet"),
    ],
)
def test_a_dry_run_prints_the_command_and_calls_nothing(call, script, options, expected):
    process, calls = call(script, *_TARGET, *options, "--dry-run")
    assert (process.returncode, process.stderr, calls) == (0, "", [])
    assert shlex.split(process.stdout) == shlex.split(expected)


def test_a_dry_run_of_setup_prints_copy_install_and_mount(call):
    process, calls = call("setup.sh", *_TARGET, "--bucket", "gs://data", "--dry-run")
    assert (process.returncode, process.stderr, calls) == (0, "", [])
    archive, gzip, copy, install, mount = process.stdout.splitlines()
    assert shlex.split(archive)[0] == "git" and "archive" in archive and gzip.startswith("gzip ")
    assert copy.startswith(f"{_VM} scp ") and "--worker=all" in copy
    assert "pip install -q --editable" in install and "[seqio,tpu]" in install
    assert "gcsfuse --implicit-dirs data bucket" in mount


def remote_command(line):
    """Returns the command line that a printed or recorded ssh call runs on the worker."""
    return next(w.removeprefix("--command=") for w in shlex.split(line) if w[:10] == "--command=")


def test_launch_runs_the_arguments_as_they_were_given_and_only_once(call, tmp_path):
    arguments = ["--gin_file=a b.gin", "--gin.TASKS=('x', \"y\")", "--gin.N=$HOME"]
    # gcloud as a shell on the worker: the remote command is run in a home folder made for it.
    process, calls = call("launch.sh", *_TARGET, "--dry-run", "--", *arguments)
    assert (process.returncode, process.stderr, calls) == (0, "", [])
    home = tmp_path / "home"
    program = home / "xlingual" / ".venv" / "bin" / "xlingual"
    program.parent.mkdir(parents=True)
    program.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\nexec sleep 30\n')
    program.chmod(0o755)
    command = remote_command(_unquote(process.stdout))
    outputs = [
        subprocess.run(["bash", "-c", command], cwd=home, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    for _ in range(100):
        if (home / "xlingual.pid").exists():
            break
        subprocess.run(["sleep", "0.05"])
    pid = int((home / "xlingual.pid").read_text())
    log = home / "xlingual.log"
    for _ in range(100):
        if log.read_text().count("\n") >= 2 + len(arguments):
            break
        subprocess.run(["sleep", "0.05"])
    os.kill(pid, 15)
    assert outputs == ["", "already running\n"]
    assert log.read_text().splitlines() == ["train", "--multiprocess", *arguments]


def _unquote(line):
    """Returns a line printed by `printf %q` with its words quoted as shlex reads them."""
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]
    return shlex.join(words)


def test_create_leaves_slices_that_are_there(call):
    process, calls = call("create.sh", *_TARGET, "--type", "v4-8", state="ACTIVE")
    assert process.returncode == 0 and "there already (ACTIVE)" in process.stderr
    assert {line.split()[4] for line in calls} == {"describe"}


def test_delete_asks_and_does_nothing_where_there_is_nothing(call):
    process, calls = call("delete.sh", *_TARGET)
    assert process.returncode == 0 and "there is no pod in" in process.stdout
    assert len(calls) == 1
    process, calls = call("delete.sh", *_TARGET, state="ACTIVE", answer="n\n")
    assert process.returncode == 2 and "not deleted" in process.stderr and len(calls) == 1
    for options, answer in (([], "y\n"), (["--yes"], "")):
        process, calls = call("delete.sh", *_TARGET, *options, state="ACTIVE", answer=answer)
        assert process.returncode == 0 and calls[1].split()[4] == "delete"


def test_work_on_a_vm_that_is_not_ready_is_refused(call):
    for script, options in (("setup.sh", []), ("launch.sh", ["--", "--gin_file=a"])):
        process, _ = call(script, *_TARGET, *options)
        assert process.returncode == 2 and "pod is absent; expected ACTIVE" in process.stderr
    process, _ = call("logs.sh", *_TARGET, state="SUSPENDED")
    assert process.returncode == 2 and "pod is SUSPENDED" in process.stderr


def test_other_failures_of_gcloud_are_shown_and_create_nothing(call):
    error = "ERROR: PERMISSION_DENIED"
    process, calls = call("create.sh", *_TARGET, "--type", "v4-8", DESCRIBE_ERROR=error)
    assert process.returncode != 0 and error in process.stderr
    assert len(calls) == 1


@pytest.mark.parametrize(
    "script, options, message",
    [
        ("create.sh", ["--zone", "z", "--type", "v4-8"], "--name (or TPU_NAME) is not set"),
        ("create.sh", ["--name", "a", "--type", "v4-8"], "--zone (or TPU_ZONE) is not set"),
        ("create.sh", _TARGET, "--type is not set"),
        ("create.sh", [*_TARGET, "--type", "v9-8"], "no runtime version is known"),
        ("create.sh", [*_TARGET, "--type"], "--type needs a value"),
        ("create.sh", ["--name"], "--name needs a value"),
        ("launch.sh", _TARGET, "no arguments for xlingual train"),
        ("launch.sh", [*_TARGET, "--spot", "--", "a"], "unknown option --spot"),
        ("create.sh", [*_TARGET, "--type", "tpu7x-8"], "use GKE"),
        ("create.sh", [*_TARGET, "--type", "v4-8", "--spot", "--reserved"], "exclude each other"),
        ("create.sh", ["--name", "A b", "--zone", "z"], "--name A b; expected lower case"),
        ("setup.sh", [*_TARGET, "--add", "../x"], "--add ../x; expected a file or folder"),
        ("run.sh", [*_TARGET, "--type", "v4-8"], "no arguments for xlingual train"),
        ("gke.sh", ["dance"], "unknown verb dance"),
        ("gke.sh", ["launch", "--name", "a", "--", "x"], "--topology"),
        ("slurm.sh", ["--nodes", "two", "--", "x"], "--nodes two; expected a number"),
        ("logs.sh", [*_TARGET, "--lines", "1;ls"], "--lines 1;ls; expected a number"),
        ("delete.sh", [*_TARGET, "--force"], "unknown option --force"),
    ],
)
def test_bad_options_end_with_a_message_before_gcloud_is_called(call, script, options, message):
    process, calls = call(script, *options)
    assert process.returncode == 2 and message in process.stderr and not calls


@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if s.name != "common.sh"], ids=lambda path: path.name
)
def test_help_is_the_header(call, script):
    process, calls = call(script.name, "--help")
    assert process.returncode == 0 and not calls
    assert f"  tpu/{script.name} " in process.stdout and "#!" not in process.stdout
