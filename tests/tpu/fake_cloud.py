"""A cloud in a folder: `gcloud` that keeps queued resources, and workers that are folders.

Run as `gcloud`. The folder `$CLOUD` holds `calls` (every command line, one a line), `request.json`
(the queued resource) and `homes/SLICE/WORKER` (the home folder of each worker, in which `ssh` runs
commands for real). `plan.json` says what goes wrong, each entry used up from its front:

* `create`: "" or an error message, one a call;
* `states`: what `describe` says one call after the other before ACTIVE;
* `ssh`: SLICE/WORKER -> number of calls that fail;
* `lose`: ask for the state of the slices so often, then the slices are taken away;
* `describe_error`: an error that `describe` always gives.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

CLOUD = pathlib.Path(os.environ.get("CLOUD", "."))
WORKERS = 2
PYTHON = """#!/bin/bash
[[ "$2" == venv ]] || exit 0
mkdir -p "$3/bin"
cp "$0" "$3/bin/python"
cp "$CLOUD/pip" "$3/bin/pip"
"""
PIP = """#!/bin/bash
echo "pip $*" >>"$CLOUD/installed"
[[ "$*" != *--editable* ]] || cp "$CLOUD/trainer" .venv/bin/xlingual
"""


def fail(message):
    sys.exit(f"ERROR: (gcloud.compute.tpus) {message}")


def load(name, default):
    path = CLOUD / name
    return json.loads(path.read_text()) if path.exists() else default


def store(name, value):
    (CLOUD / name).write_text(json.dumps(value))


def option(words, name):
    return next((w.partition("=")[2] for w in words if w.startswith(f"--{name}=")), None)


def take(kind, default):
    """Returns the next planned event of a kind."""
    plan = load("plan.json", {})
    events = plan.get(kind, [])
    event = events.pop(0) if events else default
    store("plan.json", plan)
    return event


def end_processes():
    for pid in CLOUD.glob("homes/*/*/xlingual.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def queued_resources(verb, name, words):
    request = load("request.json", None)
    if verb == "create":
        if error := take("create", ""):
            fail(error)
        count = int(option(words, "node-count") or 1)
        prefix = option(words, "node-prefix")
        nodes = [f"{prefix}-{i}" for i in range(count)] if prefix else [option(words, "node-id")]
        store("request.json", {"name": name, "nodes": nodes, "state": None})
    elif load("plan.json", {}).get("describe_error"):
        fail(load("plan.json", {})["describe_error"])
    elif request is None:
        fail(f"NOT_FOUND: Resource '{name}' was not found")
    elif verb == "describe":
        request["state"] = request["state"] or take("states", None)
        state = request["state"] or "ACTIVE"
        request["state"] = state if state in ("SUSPENDED", "FAILED", "ACTIVE") else None
        if state == "ACTIVE":
            for node in request["nodes"]:
                for worker in range(WORKERS):
                    (CLOUD / "homes" / node / str(worker)).mkdir(parents=True, exist_ok=True)
        store("request.json", request)
        print(state)
    elif verb == "delete":
        end_processes()
        (CLOUD / "request.json").unlink()
        shutil.rmtree(CLOUD / "homes", ignore_errors=True)


def tpu_vm(verb, words):
    request = load("request.json", {"nodes": []})
    if verb == "list":
        lose = load("plan.json", {}).get("lose", [])
        lose = [lose[0] - 1, *lose[1:]] if lose else []
        lost = bool(lose) and lose[0] <= 0
        if lost:
            request["state"] = "SUSPENDED"
            store("request.json", request)
            end_processes()
        plan = load("plan.json", {})
        store("plan.json", {**plan, "lose": lose[1:] if lost else lose})
        for node in request["nodes"]:
            print(f"{node}\t{'PREEMPTED' if lost else 'READY'}")
        return
    node = words[0] if verb == "ssh" else words[1].partition(":")[0]
    homes = sorted((CLOUD / "homes" / node).iterdir())
    if (worker := option(words, "worker")) != "all":
        homes = [home for home in homes if home.name == worker]
    for home in homes:
        plan = load("plan.json", {})
        place = f"{node}/{home.name}"
        if verb == "ssh" and plan.get("ssh", {}).get(place):
            plan["ssh"][place] -= 1
            store("plan.json", plan)
            fail(f"[{place}] ssh: connect to host port 22: Connection timed out")
        if verb == "ssh":
            command = option(words, "command")
            ended = subprocess.run(["bash", "-c", command], cwd=home, stdin=subprocess.DEVNULL)
            if ended.returncode:
                fail(f"[{place}] returned {ended.returncode}")
        else:
            shutil.copyfile(words[0], home / words[1].partition(":")[2])


def main():
    words = sys.argv[1:]
    with (CLOUD / "calls").open("a") as calls:
        calls.write(" ".join(["gcloud", *words]).replace("\n", " ; ") + "\n")
    if words[2] == "queued-resources":
        queued_resources(words[3], words[4], words[5:])
    else:
        tpu_vm(words[3], words[4:])


if __name__ == "__main__":
    main()
