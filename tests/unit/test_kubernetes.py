"""The manifests for Kubernetes: valid by KubeRay's own definitions, and one project with the rest."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support.places import REPOSITORY

FOLDER = REPOSITORY / "cluster" / "kubernetes"
DEFINITIONS = REPOSITORY.parent / "shared" / "kuberay" / "rayjobs.yaml"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
Json = Any


def read(text: str) -> Json:
    return yaml.load(text, Loader=yaml.CSafeLoader)


def patched(document: Json, operations: Json) -> Json:
    """JSON Patch as far as the overlays use it: add and replace."""
    for operation in operations:
        *way, last = operation["path"].strip("/").split("/")
        at = document
        for step in way:
            at = at[int(step) if isinstance(at, list) else step.replace("~1", "/")]
        if isinstance(at, list):
            at.insert(len(at) if last == "-" else int(last), operation["value"])
        else:
            assert operation["op"] == "add" or last in at
            at[last.replace("~1", "/")] = operation["value"]
    return document


def built(folder: Path) -> list[Json]:
    """What `kubectl kustomize` makes of a folder."""
    said = read((folder / "kustomization.yaml").read_text())
    found: list[Json] = []
    for resource in said["resources"]:
        place = (folder / resource).resolve()
        found += built(place) if place.is_dir() else [read(place.read_text())]
    for patch in said.get("patches", ()):
        found = [
            patched(copy.deepcopy(one), read(patch["patch"])) if one["kind"] == patch["target"]["kind"] else one
            for one in found
        ]
    return found


OVERLAYS = [FOLDER, FOLDER / "overlays" / "gpu", FOLDER / "overlays" / "spot"]


def job_of(folder: Path) -> Json:
    return next(one for one in built(folder) if one["kind"] == "RayJob")


def strict(schema: Json) -> Json:
    """A definition as a JSON schema that knows no other fields, and takes a number or a text where Kubernetes does."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


@pytest.fixture(scope="module")
def definition() -> Json:
    """KubeRay's of a job."""
    if not DEFINITIONS.exists():
        pytest.skip("KubeRay's definitions are not here")
    versions = read(DEFINITIONS.read_text())["spec"]["versions"]
    schema = next(one for one in versions if one["name"] == "v1")["schema"]["openAPIV3Schema"]
    return strict(schema["properties"]["spec"])


@pytest.mark.parametrize("folder", OVERLAYS, ids=["base", "gpu", "spot"])
def test_a_job_is_valid_by_kuberays_own_definition(folder: Path, definition: Json) -> None:
    job, validator = job_of(folder)["spec"], jsonschema.Draft202012Validator(definition)
    assert [error.message for error in validator.iter_errors(job)] == []
    assert not validator.is_valid({**job, "entryPoint": job["entrypoint"]})


@pytest.mark.parametrize("folder", OVERLAYS, ids=["base", "gpu", "spot"])
def test_a_job_is_of_this_project_and_its_pinned_ray(folder: Path) -> None:
    job = job_of(folder)["spec"]
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert f"ray=={job['rayClusterSpec']['rayVersion']}" in pins
    cluster = job["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert {one["image"] for pod in pods for one in pod["containers"]} == {f"sweep:{PROJECT['version']}"}
    claims = {volume["persistentVolumeClaim"]["claimName"] for pod in pods for volume in pod["volumes"][:1]}
    assert claims == {one["metadata"]["name"] for one in built(folder) if one["kind"] == "PersistentVolumeClaim"}


def test_nothing_begins_a_second_cluster_by_itself() -> None:
    assert job_of(FOLDER)["spec"]["backoffLimit"] == 0


def test_the_gpu_overlay_gives_each_worker_one_gpu_and_the_head_none() -> None:
    cluster = job_of(FOLDER / "overlays" / "gpu")["spec"]["rayClusterSpec"]
    (worker,) = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_the_image_copies_what_there_is() -> None:
    steps = (REPOSITORY / "cluster" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [source for step in steps if step.startswith("COPY ") for source in step.split()[1:-1]]
    required = [word for step in steps for word in step.split() if word.startswith("cluster/hashes/")]
    assert all((REPOSITORY / source).exists() for source in copied)
    assert all(
        (REPOSITORY / name.replace("${TORCH}", build)).exists() for name in required for build in ("cpu", "cuda")
    )
