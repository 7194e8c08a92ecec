"""JobSets for GKE and batch scripts for SLURM: rendered, checked, and run with fake clusters."""

import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tpu"
ARGUMENTS = ["--gin_file=a b.gin", "--gin.X={'a': \"$HOME\"}", "--gin.Y=- [: #"]
_KUBECTL = """#!/usr/bin/env bash
echo "kubectl $*" >>"$CALLS"
case "$2" in
  create) echo "made: $3" ;;
  apply)
    cat >>"$APPLIED"
    [[ -z "${REFUSED:-}" ]] || { echo "error: no JobSet here" >&2; exit 1; }
    ;;
esac
"""
_BATCH = """#!/usr/bin/env bash
echo "sbatch $*" >>"$CALLS"
cat >"$APPLIED"
"""


@pytest.fixture
def run(tmp_path):
    """Runs a script with fakes of kubectl and sbatch; returns the process and their calls."""
    (tmp_path / "bin").mkdir()
    for name, text in (("kubectl", _KUBECTL), ("sbatch", _BATCH)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def call(script, *options, **environment):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.run(
            [str(FOLDER / script), *map(str, options)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            env={
                "PATH": path,
                "CALLS": str(tmp_path / "calls"),
                "APPLIED": str(tmp_path / "applied"),
                **environment,
            },
        )
        calls = tmp_path / "calls"
        return process, calls.read_text().splitlines() if calls.exists() else []

    return call


def _manifest(run, *options):
    process, calls = run("gke.sh", "render", "--name", "pod", *options, "--", *ARGUMENTS)
    assert process.returncode == 0 and not calls, process.stderr
    return yaml.safe_load(process.stdout)


@pytest.mark.parametrize(
    ("topology", "accelerator", "hosts", "chips"),
    [
        ("v4:4x4x4", "tpu-v4-podslice", 16, 4),
        ("v5e:16x16", "tpu-v5-lite-podslice", 64, 4),
        ("v5e:2x4", "tpu-v5-lite-podslice", 1, 8),
        ("v5p:2x2x1", "tpu-v5p-slice", 1, 4),
        ("v6e:4x4", "tpu-v6e-slice", 4, 4),
        ("tpu7x:4x4x8", "tpu7x", 32, 4),
    ],
)
def test_a_manifest_asks_for_the_hosts_and_chips_of_its_slices(topology, accelerator, hosts, chips):
    module = _jobset()
    arguments = ["--name", "pod", "--topology", topology, "--num-slices", "2", "--", "x"]
    found = yaml.safe_load(module.render(module.make_parser().parse_args(arguments)))
    (job,) = found["spec"]["replicatedJobs"]
    assert job["replicas"] == 2
    spec = job["template"]["spec"]
    assert (spec["parallelism"], spec["completions"], spec["backoffLimit"]) == (hosts, hosts, 0)
    pod = spec["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology.partition(":")[2],
    }
    resources = pod["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"google.com/tpu": chips}


def _jobset():
    spec = importlib.util.spec_from_file_location("jobset", FOLDER / "jobset.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SCHEMA = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {"failurePolicy", "replicatedJobs"},
    "job": {"name", "replicas", "template"},
    "job spec": {"parallelism", "completions", "backoffLimit", "template"},
    "pod": {
        "restartPolicy", "hostNetwork", "dnsPolicy", "terminationGracePeriodSeconds",
        "serviceAccountName", "nodeSelector", "tolerations", "containers", "volumes",
    },
    "container": {
        "name", "image", "command", "args", "env", "envFrom", "ports", "resources", "volumeMounts",
    },
}  # fmt: skip
"""Fields of JobSet v1alpha2, batch/v1 and core/v1 that a manifest has, all of them known there."""


def test_a_manifest_is_a_jobset_and_hands_arguments_on_as_they_are(run):
    options = ["--topology", "v5p:4x4x4", "--spot", "--bucket", "gs://b", "--max-restarts", "7"]
    found = _manifest(run, *options)
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert found["metadata"]["name"] == "pod"
    assert found["spec"]["failurePolicy"] == {"maxRestarts": 7}
    (job,) = found["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for name, part in (
        ("", found),
        ("spec", found["spec"]),
        ("job", job),
        ("job spec", job["template"]["spec"]),
        ("pod", pod),
        ("container", container),
    ):
        assert set(part) == _SCHEMA[name]
    assert pod["restartPolicy"] == "Never" and pod["hostNetwork"] is True
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert [t["key"] for t in pod["tolerations"]] == ["google.com/tpu", "cloud.google.com/gke-spot"]
    assert container["args"] == ARGUMENTS
    assert container["command"][:2] == ["bash", "-c"] and container["envFrom"] == []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["bucket"]["csi"]["volumeAttributes"]["bucketName"] == "b"
    assert volumes["source"]["configMap"]["name"] == "pod-source"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--topology", "v9:2x2"], "expected one of v4, v5e"),
        (["--topology", "v5p:4x4"], "expected a shape of 3 numbers"),
        (["--topology", "v5e:3x3"], "expected a shape of 2 numbers"),
        (["--topology", "v5e:4x4", "--num-slices", "0"], "--num-slices 0; expected >= 1"),
        (["--topology", "v5e:4x4", "--spot", "--reservation", "r"], "exclude each other"),
    ],
)
def test_bad_slices_are_refused_before_the_cluster_is_asked(capsys, options, message):
    assert _jobset().main(["--name", "pod", *options, "--", "x"]) == 2
    assert message in capsys.readouterr().err


def test_launch_ships_source_and_secrets_and_submits(run, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.write_text("TOKEN=hush\n")
    secrets.chmod(0o600)
    options = ["--name", "pod", "--topology", "v6e:4x4", "--secrets", secrets, "--", *ARGUMENTS]
    process, calls = run("gke.sh", "launch", *options)
    assert process.returncode == 0, process.stderr
    verbs = [line.split()[2:5] for line in calls]
    assert sorted(verb[0] for verb in verbs) == ["apply", "apply", "apply", "create", "create"]
    assert any("configmap pod-source --from-file=xlingual.tar.gz=" in line for line in calls)
    assert any(f"secret generic pod-secrets --from-env-file={secrets}" in line for line in calls)
    assert "hush" not in "".join(calls)
    applied = (tmp_path / "applied").read_text()
    found = yaml.safe_load(applied[applied.index("apiVersion") :])
    pod = found["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "pod-secrets"}}]
    assert "hush" not in applied
    process, _ = run("gke.sh", "launch", *options, REFUSED="yes")
    assert process.returncode != 0 and "no JobSet here" in process.stderr


def test_a_dry_run_of_gke_asks_nothing_and_the_other_verbs_ask_kubectl(run):
    options = ["--name", "pod", "--topology", "v6e:4x4", "--dry-run", "--", "x"]
    process, calls = run("gke.sh", "launch", *options)
    assert process.returncode == 0 and not calls and "kind: JobSet" in process.stdout
    for verb, words in (("status", "get jobset pod"), ("logs", "logs"), ("delete", "delete")):
        process, calls = run("gke.sh", verb, "--name", "pod", "--namespace", "n")
        assert process.returncode == 0, process.stderr
        assert any(f"kubectl --namespace=n {words}" in line for line in calls)


def _program_in_a_folder(tmp_path, module_text):
    """Returns the environment of a pod's program with fakes of tar and python3."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    for name, text in (
        ("tar", "exit 0"),
        ("python3", f'[[ "$2" == pip ]] && exit 0\n{module_text}'),
    ):
        (fakes / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (fakes / name).chmod(0o755)
    return {"PATH": f"{fakes}{os.pathsep}{os.environ['PATH']}", "OUT": str(tmp_path / "out")}


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (3, 3)])
def test_a_pod_ends_as_its_training_does(tmp_path, status, expected):
    environment = _program_in_a_folder(tmp_path, f'printf "%s\\n" "$@" >"$OUT"; exit {status}')
    program = _jobset().PROGRAM.replace("/tmp/xlingual", str(tmp_path / "source"))
    command = ["bash", "-c", program, "train", *ARGUMENTS]
    assert subprocess.run(command, env=environment).returncode == expected
    assert (tmp_path / "out").read_text().splitlines()[-3:] == ARGUMENTS


def test_a_pod_that_is_told_to_stop_passes_it_on_and_counts_as_failed(tmp_path):
    text = "trap 'echo saved >>$OUT; exit 0' TERM\necho begun >$OUT\nwhile :; do sleep 0.05; done"
    environment = _program_in_a_folder(tmp_path, text)
    module = _jobset()
    program = module.PROGRAM.replace("/tmp/xlingual", str(tmp_path / "source"))
    with subprocess.Popen(["bash", "-c", program, "train", "x"], env=environment) as pod:
        _wait_for(tmp_path / "out")
        pod.send_signal(signal.SIGTERM)
        assert pod.wait(timeout=30) == module.STOPPED
    assert (tmp_path / "out").read_text() == "begun\nsaved\n"


def _wait_for(path):
    for _ in range(200):
        if path.exists() and path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


def test_slurm_gets_a_batch_script_that_shellcheck_likes(run, tmp_path):
    options = ["--nodes", "4", "--gpus-per-node", "8", "--partition", "gpu", "--", *ARGUMENTS]
    process, calls = run("slurm.sh", *options)
    assert process.returncode == 0 and calls == ["sbatch --partition=gpu"], process.stderr
    batch = (tmp_path / "applied").read_text()
    for line in ("--nodes=4", "--ntasks-per-node=8", "--signal=B:TERM@300", "--requeue"):
        assert f"#SBATCH {line}\n" in batch
    process, calls = run("slurm.sh", *options[:-4], "--dry-run", "--", *ARGUMENTS)
    assert process.stdout.strip() == batch.strip() and len(calls) == 1
    beside = pathlib.Path(sys.executable).parent
    found = shutil.which("shellcheck", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    checked = subprocess.run([found, "-"], input=batch, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("srun", "stop", "restarts", "code", "requeued"),
    [
        ("exit 0", False, 0, 0, False),
        ("exit 1", False, 0, 0, True),
        ("exit 1", False, 100, 1, False),
        ("exit 2", False, 0, 1, False),
        ("trap 'exit 0' TERM; echo ready >$OUT; while :; do sleep 0.05; done", True, 0, 0, True),
    ],
    ids=["done", "node_fails", "too_often", "bad_input", "time_is_over"],
)
def test_a_slurm_job_is_queued_again_until_it_is_done(
    run, tmp_path, srun, stop, restarts, code, requeued
):
    secrets = tmp_path / "secrets"
    secrets.write_text("TOKEN=hush\n")
    secrets.chmod(0o600)
    run("slurm.sh", "--secrets", secrets, "--", *ARGUMENTS)
    batch = (tmp_path / "applied").read_text()
    assert "hush" not in batch
    tail = f'printf "%s\\n" "$@" >"$OUT.arguments"; echo "$TOKEN" >"$OUT.token"\n{srun}'
    for name, text in (("srun", tail), ("scontrol", 'echo "$*" >"$OUT.requeued"')):
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "OUT": str(tmp_path / "out"),
        "SLURM_JOB_ID": "17",
        "SLURM_RESTART_COUNT": str(restarts),
    }
    with subprocess.Popen(["bash", "-c", batch], env=environment) as job:
        if stop:
            _wait_for(tmp_path / "out")
            job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == code
    assert (tmp_path / "out.arguments").read_text().splitlines()[-3:] == ARGUMENTS
    assert (tmp_path / "out.token").read_text() == "hush\n"
    assert (tmp_path / "out.requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "out.requeued").read_text() == "requeue 17\n"
