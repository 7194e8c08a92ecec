"""The scripts end to end against a cloud in a folder that loses slices and refuses requests."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.tpu import fake_cloud

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINER = """#!/bin/bash
# Takes the place of `xlingual`: notes its arguments and secrets; behaves as `behaviour` says.
echo "$*" >>"$CLOUD/trained"
[[ -z "${TOKEN:-}" ]] || echo "$TOKEN" >>"$CLOUD/tokens"
read -r what <"$CLOUD/behaviour"
sed -i 1d "$CLOUD/behaviour"
case "$what" in
  fail) echo "error: bad"; exit 1 ;;
  stop) echo "stopped by a signal; the same command goes on" ;;
  hang) exec sleep 60 ;;
  *) echo "9 steps done; results: r" ;;
esac
"""
ARGUMENTS = ["--", "--gin_file=a b.gin", "--gin.X=$HOME"]


class Cloud:
    """A folder with a fake `gcloud` and two workers a slice."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in (
            (
                "bin/gcloud",
                f'#!/bin/bash\nexec "{sys.executable}" -S "{fake_cloud.__file__}" "$@"\n',
            ),
            ("bin/python3.12", fake_cloud.PYTHON),
            ("bin/gcsfuse", '#!/bin/bash\necho "$*" >>"$CLOUD/mounted"\n'),
            ("bin/mountpoint", "#!/bin/bash\nexit 1\n"),
            ("pip", fake_cloud.PIP),
            ("trainer", TRAINER),
        ):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.behave()

    def plan(self, **events):
        (self.folder / "plan.json").write_text(json.dumps(events))

    def behave(self, *words):
        (self.folder / "behaviour").write_text(
            "".join(f"{word}\n" for word in words) + "done\n" * 99
        )

    def __call__(self, script, *options, code=0):
        environment = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "CLOUD": str(self.folder),
            "HOME": str(self.folder),
            "TPU_NAME": "pod",
            "TPU_ZONE": "z",
            "TPU_PAUSE_SECONDS": "0.05",
        }
        process = subprocess.run(
            [str(ROOT / "tpu" / script), *options],
            text=True,
            capture_output=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert process.returncode == code, process.stdout + process.stderr
        return process.stderr + process.stdout

    def lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def verbs(self):
        """Returns the words that say what was asked of the cloud, without those that look."""
        verbs = [line.split()[4] for line in self.lines("calls")]
        return [verb for verb in verbs if verb not in ("describe", "list")]


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


def test_a_run_of_two_slices_from_nothing_to_its_end_with_secrets(cloud, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.write_text("# mine\nTOKEN=hush\n")
    secrets.chmod(0o600)
    cloud.plan(states=["ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"])
    options = ["--type", "v5litepod-16", "--num-slices", "2", "--spot", "--poll", "0"]
    said = cloud("run.sh", *options, "--secrets", str(secrets), "--bucket", "gs://b", *ARGUMENTS)
    assert "the training is done" in said
    (create,) = [line for line in cloud.lines("calls") if " create " in line]
    assert create.endswith(
        " create pod --zone=z --node-count=2 --node-prefix=pod --accelerator-type=v5litepod-16 "
        "--runtime-version=v2-alpha-tpuv5-lite --spot"
    )
    # Two slices of two workers: each was installed, and trained once, with its arguments as given.
    assert cloud.lines("trained") == ["train --multiprocess --gin_file=a b.gin --gin.X=$HOME"] * 4
    assert cloud.lines("tokens") == ["hush"] * 4
    assert sum("--editable .[seqio,tpu]" in line for line in cloud.lines("installed")) == 4
    assert not any("hush" in line for line in cloud.lines("calls"))
    assert cloud.lines("mounted") == ["--implicit-dirs b bucket"] * 4
    assert cloud.verbs()[-1] == "delete"


def test_slices_that_are_taken_away_are_made_anew_and_the_run_goes_on(cloud):
    cloud.plan(lose=[8])
    cloud.behave("hang", "hang")
    said = cloud("run.sh", "--type", "v4-8", "--poll", "0", "--spot", *ARGUMENTS)
    assert "the slices are lost; making new ones" in said
    assert [verb for verb in cloud.verbs() if verb in ("create", "delete")] == [
        "create", "delete", "create", "delete",
    ]  # fmt: skip
    assert len(cloud.lines("trained")) == 4 and len(set(cloud.lines("trained"))) == 1


@pytest.mark.parametrize("state", ["FAILED", pytest.param("SUSPENDED", marks=pytest.mark.slow)])
def test_a_request_that_fails_is_made_again(cloud, state):
    cloud.plan(states=["ACCEPTED", state])
    said = cloud("run.sh", "--type", "v4-8", "--poll", "0", "--keep", *ARGUMENTS)
    assert f"pod is {state}" in said
    assert [verb for verb in cloud.verbs() if verb in ("create", "delete")] == [
        "create", "delete", "create",
    ]  # fmt: skip
    assert "the training is done" in said


@pytest.mark.slow
def test_no_capacity_is_tried_again_and_given_up(cloud):
    full = "RESOURCE_EXHAUSTED: There is no more capacity in the zone"
    cloud.plan(create=[full, ""])
    said = cloud("run.sh", "--type", "v4-8", "--poll", "0", "--keep", *ARGUMENTS)
    assert full in said and "failure 1 of 3" in said and "the training is done" in said
    cloud("delete.sh", "--yes")
    cloud.plan(create=[full] * 9)
    said = cloud("run.sh", "--type", "v4-8", "--poll", "0", *ARGUMENTS, code=1)
    assert said.count(full) == 3 and "giving up" in said


def test_one_worker_that_does_not_answer_is_asked_again(cloud):
    cloud("create.sh", "--type", "v4-8", "--num-slices", "2")
    cloud.plan(ssh={"pod-1/1": 2})
    assert "attempt 2 failed; again in" in cloud("setup.sh")
    cloud.plan(ssh={"pod-1/1": 9})
    assert "not every worker was set up" in cloud("setup.sh", code=2)
    cloud.plan(ssh={"pod-1/1": 3})
    cloud.behave(*["hang"] * 4)
    said = cloud("launch.sh", *ARGUMENTS, code=1)
    assert "not every worker could be started; stopping those that were" in said
    # The workers that had started were ended by SIGTERM; the one that did not answer never began.
    assert "idle" in cloud("status.sh", code=11)


@pytest.mark.slow
def test_a_training_that_fails_is_started_again_but_not_for_ever(cloud):
    cloud.behave("fail", "fail", "stop", "stop")
    said = cloud("run.sh", "--type", "v4-8", "--poll", "0", "--keep", *ARGUMENTS)
    assert "the training failed (failure 1 of 3)" in said
    assert "stopped by a signal; going on" in said
    assert len(cloud.lines("trained")) == 6
    (cloud.folder / "trained").unlink()
    cloud("delete.sh", "--yes")
    cloud.behave(*["fail"] * 50)
    said = cloud(
        "run.sh", "--type", "v4-8", "--poll", "0", "--max-failures", "2", *ARGUMENTS, code=1
    )
    assert "giving up; the slices stay" in said and len(cloud.lines("trained")) == 4
    assert "delete" not in cloud.verbs()[-3:]


def test_status_says_where_a_run_stands(cloud):
    def word(code):
        return cloud("status.sh", code=code).splitlines()[-1]

    assert word(14) == "absent"
    cloud.plan(states=["WAITING_FOR_RESOURCES"] * 9)
    cloud("create.sh", "--type", "v4-8", "--wait", "0")
    assert word(12) == "waiting"
    cloud.plan()
    cloud("create.sh", "--type", "v4-8")
    assert word(11) == "idle"
    cloud("setup.sh")
    cloud.behave("hang", "hang")
    cloud("launch.sh", *ARGUMENTS)
    assert word(10) == "running"
    assert "already running" in cloud("launch.sh", *ARGUMENTS)
    assert len(cloud.lines("trained")) == 2
    cloud("launch.sh", "--stop")
    cloud.plan(ssh={"pod/1": 1})
    assert word(15) == "unknown"
    cloud.plan(lose=[1])
    assert word(13) == "lost"


def test_secrets_must_be_private_and_plain(cloud, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.write_text("TOKEN=a\n")
    secrets.chmod(0o644)
    assert "mode 644; expected 600" in cloud("setup.sh", "--secrets", str(secrets), code=2)
    secrets.write_text("TOKEN=a\nrm -rf x\n")
    secrets.chmod(0o600)
    assert "not NAME=VALUE" in cloud("setup.sh", "--secrets", str(secrets), code=2)
    assert not cloud.lines("calls")


def test_other_errors_of_the_cloud_are_shown_and_nothing_is_created(cloud):
    cloud.plan(describe_error="PERMISSION_DENIED: no")
    assert "PERMISSION_DENIED" in cloud("create.sh", "--type", "v4-8", code=1)
    assert cloud.verbs() == []
