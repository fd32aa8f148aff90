"""The examples for Ray: what they call is what there is. No cluster is started."""

import pathlib
import re
import shlex

import pytest
import yaml

from pirig.cli import args
from pirig.cli.eval import EvalArgs
from pirig.sim.suites import STANDARD_SUITES

ROOT = pathlib.Path(__file__).parents[1]
# Fields of KubeRay's ray.io/v1 types RayJobSpec, RayClusterSpec, HeadGroupSpec and WorkerGroupSpec.
JOB = {"entrypoint", "runtimeEnvYAML", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
       "rayClusterSpec", "backoffLimit", "activeDeadlineSeconds", "suspend", "clusterSelector", "metadata"}  # fmt: skip
CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling", "autoscalerOptions"}
HEAD = {"rayStartParams", "template", "serviceType", "headService", "enableIngress"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts"}


def version():
    (found,) = set(re.findall(r"^ray==(\S+)", (ROOT / "locks/ray.txt").read_text(), re.M))
    return found


@pytest.fixture
def job():
    _, found = yaml.safe_load_all((ROOT / "examples/kuberay/rayjob.yaml").read_text())
    return found


def parsed(command):
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("pirig", "eval")
    return args.parse(EvalArgs, words, "eval")


def test_both_lock_files_and_the_manifest_have_one_ray(job):
    (jobs,) = set(re.findall(r"^ray==(\S+)", (ROOT / "locks/ray-jobs.txt").read_text(), re.M))
    assert version() == jobs == job["spec"]["rayClusterSpec"]["rayVersion"]
    assert f'"ray=={version()}"' in (ROOT / "pyproject.toml").read_text()


def test_the_manifest_has_kuberays_fields_and_no_others(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = cluster["workerGroupSpecs"]
    assert job["spec"].keys() <= JOB
    assert cluster.keys() <= CLUSTER
    assert cluster["headGroupSpec"].keys() <= HEAD
    assert all(group.keys() <= GROUP for group in groups)
    assert all(group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] for group in groups)
    parameters = [cluster["headGroupSpec"]["rayStartParams"], *(group["rayStartParams"] for group in groups)]
    assert all(isinstance(value, str) for table in parameters for value in table.values()), "KubeRay wants strings"


def test_the_job_calls_an_evaluation_that_there_is(job):
    flags = parsed(job["spec"]["entrypoint"])
    assert (flags.workers.executor, flags.workers.ray_address, flags.episodes.task_suite_name) == ("ray", "auto", "all")
    mounts = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    (results,) = [mount["mountPath"] for mount in mounts]
    assert flags.paths.results.is_relative_to(results)
    assert flags.paths.videos.is_relative_to(results)


def test_the_head_computes_nothing_and_nodes_have_a_gpu(job):
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_compose_and_its_script_agree():
    services = yaml.safe_load((ROOT / "examples/ray/compose.yml").read_text())["services"]
    defaults = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if "=" in line)
    head = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: defaults[found[1]], services["ray-head"]["command"])
    head = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", head)
    role, *words = shlex.split(re.sub(r"\$\{CKPT:\+/ckpt\}", "", head))
    flags = parsed(shlex.join(["pirig", "eval", *words]))
    assert role == "head"
    assert flags.policy.policy == "pi05_libero"
    assert flags.episodes.task_suite_name in STANDARD_SUITES
    script = (ROOT / "docker/ray.sh").read_text()
    port = re.search(r"--port=(\d+)", script)[1]
    assert services["ray-node"]["command"] == f"node ray-head:{port}"
    assert set(re.findall(r"\$\{(RAY_\w+):\+", script)) <= services["ray-node"]["environment"].keys()
