"""What the container and the service name exists in the project."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from causvid.train.recipe import find_recipe

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"


def instructions():
    """Word and arguments of every line of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def ignored_except():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return {line[1:] for line in lines if line.startswith("!")}


def test_what_is_copied_exists_and_is_let_through():
    copied = [name for word, rest in instructions() if word == "COPY" for name in shlex.split(rest)[:-1]]
    assert "src" in copied
    for name in copied:
        assert (ROOT / name).exists() and name in ignored_except()


def test_nothing_is_let_through_that_is_not_copied():
    copied = {name for word, rest in instructions() if word == "COPY" for name in shlex.split(rest)[:-1]}
    assert ignored_except() == copied


def test_the_server_in_the_container_is_not_root():
    words = [word for word, _ in instructions()]
    user = next(rest for word, rest in instructions() if word == "USER")
    assert user not in ("root", "0") and words.index("USER") < words.index("ENTRYPOINT")


def test_the_extras_of_the_image_are_extras_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    default = next(rest for word, rest in instructions() if word == "ARG" and rest.startswith("EXTRAS="))
    assert set(default.partition("=")[2].split(",")) <= set(extras)


def test_the_service_and_the_composition_name_files_of_the_project():
    service = (ROOT / "deploy/causvid.service").read_text()
    named = re.findall(r"/opt/causvid/(docs/[\w./-]+)", service) + re.findall(
        r"\b(?:deploy|scripts)/[\w./]+\w", service
    )
    assert named and all((ROOT / name).exists() for name in named)
    contexts = re.findall(r"context: (\S+)", (ROOT / "deploy/compose.yaml").read_text())
    assert contexts and all((ROOT / "deploy" / c / "Dockerfile").resolve() == DOCKERFILE for c in contexts)


def test_the_composition_is_yaml_with_a_server_for_each_device():
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    devices = {name: service["build"]["args"]["CAUSVID_DEVICE"] for name, service in services.items()}
    assert devices == {"cpu": "cpu", "cuda": "cuda"}
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in services.values())
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])


def causvid_words(words):
    """What is said to `causvid`, checked to be a recipe and flags that exist."""
    after = words[words.index("causvid") + 1 :]
    return after[0], after[1], [word.partition("=")[0] for word in after[2:] if word.startswith("--")]


def test_the_slurm_job_is_a_script_whose_comment_names_a_recipe_and_restarts_go_on():
    path = ROOT / "deploy/train.slurm"
    text = path.read_text()
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    example = re.search(r"sbatch deploy/train\.slurm (\S+) --out (\S+)", text)
    assert example and find_recipe(example[1])
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.MULTILINE))
    assert asked["ntasks-per-node"] == "1" and asked["signal"].startswith("B:TERM@")
    command = text[text.index("srun") : text.index('"$@"')].replace("\\\n", " ").split()
    assert command[command.index("-m") :] == ["-m", "causvid", "train"]
    assert "--max-restarts" in command and "requeue" in text


def test_the_kubernetes_job_finds_its_first_pod_and_trains_a_recipe_on_all_its_gpus():
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all((ROOT / "deploy/train.kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words, flags = container["command"], dict(w[2:].split("=", 1) for w in container["command"] if "=" in w)
    verb, recipe, _ = causvid_words(words)
    assert verb == "train" and find_recipe(recipe)
    port = service["spec"]["ports"][0]["port"]
    assert flags["rdzv-endpoint"] == f"{job['metadata']['name']}-0.{pod['subdomain']}:{port}"
    assert service["metadata"]["name"] == pod["subdomain"] and service["spec"]["clusterIP"] == "None"
    assert int(flags["nnodes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(flags["nproc-per-node"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    mounted = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == mounted
    assert flags["out"].startswith(container["volumeMounts"][0]["mountPath"])
