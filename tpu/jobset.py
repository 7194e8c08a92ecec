#!/usr/bin/env python3
"""Renders the JobSet of a training on TPU slices of GKE as YAML; Python's own library only.

    tpu/jobset.py --name pod --topology v5p:4x4x4 --num-slices 2 -- --gin_file=... > pod.yaml

A JobSet is one Job a slice and one pod a host, restarted together when one fails. `tpu/gke.sh`
calls this, and makes the ConfigMap `NAME-source` (the source archive) and the Secret `NAME-secrets`
that the pods read.

References:
  jobset.sigs.k8s.io, API `jobset.x-k8s.io/v1alpha2`. cloud.google.com/kubernetes-engine/docs,
  "Deploy TPU Multislices in GKE" (node labels, ports), "Cloud Storage FUSE CSI driver".
"""

import argparse
import json
import math
import re
import sys

# Generation -> (value of the label gke-tpu-accelerator, chips of a host of a slice of many hosts,
# most chips of a slice of one host, number of dimensions of a topology).
GENERATIONS = {
    "v4": ("tpu-v4-podslice", 4, 4, 3),
    "v5e": ("tpu-v5-lite-podslice", 4, 8, 2),
    "v5p": ("tpu-v5p-slice", 4, 4, 3),
    "v6e": ("tpu-v6e-slice", 4, 8, 2),
    "tpu7x": ("tpu7x", 4, 4, 3),
}
STOPPED = 75
"""Exit status of a pod that was told to stop: a failure for the JobSet, which starts all again."""

# The source is unpacked and installed, and the training started; a SIGTERM is passed on, so that
# the run saves on all hosts at the same step.
PROGRAM = f"""set -eu
mkdir -p /tmp/xlingual
tar -xzf /source/xlingual.tar.gz -C /tmp/xlingual
cd /tmp/xlingual
python3 -m pip install -q '.[seqio,tpu]'
[ ! -d /bucket ] || ln -sfn /bucket bucket
set +e
stopped=0
trap 'stopped=1; kill -TERM "$child" 2>/dev/null' TERM
python3 -m xlingual.cli.main train --multiprocess --cluster=gke "$@" &
child=$!
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  code=$?
done
[ "$stopped" = 0 ] || exit {STOPPED}
exit "$code"
"""

TEMPLATE = """\
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app: xlingual
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: {max_restarts}
  replicatedJobs:
    - name: slice
      replicas: {num_slices}
      template:
        spec:
          parallelism: {hosts}
          completions: {hosts}
          backoffLimit: 0
          template:
            metadata:
              labels:
                app: xlingual
              annotations: {annotations}
            spec:
              restartPolicy: Never
              hostNetwork: true
              dnsPolicy: ClusterFirstWithHostNet
              terminationGracePeriodSeconds: {grace_seconds}
              serviceAccountName: {service_account}
              nodeSelector: {node_selector}
              tolerations: {tolerations}
              containers:
                - name: train
                  image: {image}
                  command: ["bash", "-c", {program}, "train"]
                  args: {arguments}
                  env:
                    - name: PYTHONUNBUFFERED
                      value: "1"
                  envFrom: {env_from}
                  ports:
                    - containerPort: 8471
                    - containerPort: 8080
                    - containerPort: 8482
                  resources:
                    limits:
                      google.com/tpu: {chips}
                    requests:
                      google.com/tpu: {chips}
                  volumeMounts: {mounts}
              volumes: {volumes}
"""


def main(argv=None):
    """Prints the manifest; returns 0, or 2 after a message about a bad option."""
    args = make_parser().parse_args(argv)
    try:
        print(render(args), end="")
    except ValueError as error:
        print(f"jobset.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def make_parser():
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="of the JobSet")
    parser.add_argument("--topology", required=True, help="GENERATION:SHAPE, e.g. v5p:4x4x4")
    parser.add_argument("--num-slices", type=int, default=1)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--image", default="python:3.12", help="with Python 3.11 or 3.12 and bash")
    parser.add_argument("--service-account", default="default", help="that may read the bucket")
    parser.add_argument("--bucket", help="Cloud Storage bucket, mounted and linked as bucket/")
    parser.add_argument("--secrets", action="store_true", help="read the Secret NAME-secrets")
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--reservation", help="name of a reservation")
    parser.add_argument("--max-restarts", type=int, default=100)
    parser.add_argument("--grace-seconds", type=int, default=300, help="to save after a SIGTERM")
    parser.add_argument("arguments", nargs="+", help="of xlingual train, after --")
    return parser


def render(args):
    """Returns the manifest.

    Raises:
      ValueError: a bad name, topology or number; the message says which.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", args.name):
        raise ValueError(
            f"--name {args.name}; expected at most 40 lower case letters, digits and hyphens"
        )
    for option in ("num_slices", "grace_seconds"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option.replace('_', '-')} {getattr(args, option)}; expected >= 1")
    if args.max_restarts < 0:
        raise ValueError(f"--max-restarts {args.max_restarts}; expected >= 0")
    if args.spot and args.reservation:
        raise ValueError("--spot and --reservation exclude each other")
    accelerator, shape, hosts, chips = split_topology(args.topology)
    selector = {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": shape,
    }
    tolerations = [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}]
    if args.spot:
        selector["cloud.google.com/gke-spot"] = "true"
        tolerations.append({**tolerations[0], "key": "cloud.google.com/gke-spot"})
    if args.reservation:
        selector["cloud.google.com/reservation-name"] = args.reservation
    mounts = [{"name": "source", "mountPath": "/source"}]
    volumes = [{"name": "source", "configMap": {"name": f"{args.name}-source"}}]
    annotations = {}
    if args.bucket:
        annotations["gke-gcsfuse/volumes"] = "true"
        mounts.append({"name": "bucket", "mountPath": "/bucket"})
        driver = {
            "driver": "gcsfuse.csi.storage.gke.io",
            "volumeAttributes": {
                "bucketName": args.bucket.removeprefix("gs://"),
                "mountOptions": "implicit-dirs",
            },
        }
        volumes.append({"name": "bucket", "csi": driver})
    secret = [{"secretRef": {"name": f"{args.name}-secrets"}}] if args.secrets else []
    # A value in JSON is a value in YAML: nothing that a user writes can be read as something else.
    values = {
        "name": args.name,
        "namespace": args.namespace,
        "max_restarts": args.max_restarts,
        "num_slices": args.num_slices,
        "hosts": hosts,
        "chips": chips,
        "annotations": annotations,
        "grace_seconds": args.grace_seconds,
        "service_account": args.service_account,
        "node_selector": selector,
        "tolerations": tolerations,
        "image": args.image,
        "program": PROGRAM,
        "arguments": args.arguments,
        "env_from": secret,
        "mounts": mounts,
        "volumes": volumes,
    }
    return TEMPLATE.format(**{name: json.dumps(value) for name, value in values.items()})


def split_topology(topology):
    """Returns the label of the accelerator, the shape, hosts of a slice and chips of a host.

    >>> split_topology("v5p:4x4x8")
    ('tpu-v5p-slice', '4x4x8', 32, 4)
    >>> split_topology("v6e:2x4")
    ('tpu-v6e-slice', '2x4', 1, 8)

    Raises:
      ValueError: there is no such slice.
    """
    generation, _, shape = topology.partition(":")
    if generation not in GENERATIONS:
        raise ValueError(
            f"--topology {topology}; expected one of {', '.join(GENERATIONS)}, as v5p:4x4x4"
        )
    accelerator, per_host, one_host, dimensions = GENERATIONS[generation]
    sizes = [int(size) if size.isdigit() else 0 for size in shape.split("x")]
    chips = math.prod(sizes)
    if len(sizes) != dimensions or chips < 1 or (chips > one_host and chips % per_host):
        example = "x".join("4" * dimensions)
        raise ValueError(
            f"--topology {topology}; expected a shape of {dimensions} numbers: {example}"
        )
    if chips <= one_host:
        return accelerator, shape, 1, chips
    return accelerator, shape, chips // per_host, per_host


if __name__ == "__main__":
    sys.exit(main())
