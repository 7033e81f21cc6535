"""The files that clusters are made from agree with Ray's own rules, with the pinned versions and with the repository."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from plcp.config import load
from plcp.serving.app import Application, build

ROOT = Path(__file__).parents[2]
RAY = next(line.partition("==")[2] for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("ray=="))
KUBERAY = sorted((ROOT / "cluster/kuberay").glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    return dict(spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec)


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_launcher_file_passes_ray_s_own_validation() -> None:
    validate_config(prepare_config(read(ROOT / "ray-cluster.yaml")))


def test_launcher_file_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(Exception, match="max_wokers"):
        validate_config(prepare_config({**read(ROOT / "ray-cluster.yaml"), "max_wokers": 2}))


def test_launched_cluster_demands_a_token_and_shows_its_dashboard_to_itself_only() -> None:
    config = read(ROOT / "ray-cluster.yaml")
    head = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]


def test_launched_workers_have_gpus_and_come_only_when_asked_for() -> None:
    gpu = read(ROOT / "ray-cluster.yaml")["available_node_types"]["gpu"]
    assert gpu["resources"]["GPU"] >= 1
    assert gpu["min_workers"] == 0


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_kubernetes_clusters_demand_a_token_and_run_the_pinned_ray(path: Path) -> None:
    manifest = read(path)
    spec = cluster_spec(manifest)
    assert manifest["apiVersion"] == "ray.io/v1"
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == RAY
    assert len({container["image"] for container in containers(spec)}) == 1


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)
def test_kubernetes_containers_ask_for_as_much_as_they_may_use(path: Path) -> None:
    for container in containers(cluster_spec(read(path))):
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_images_bring_the_pinned_ray() -> None:
    tags = [re.search(r"rayproject/ray:([\d.]+)", (ROOT / file).read_text()) for file in ("ray-cluster.yaml", "cluster/docker/Dockerfile")]
    assert [tag and tag[1] for tag in tags] == [RAY, RAY]


def test_what_the_image_copies_exists() -> None:
    copied = re.findall(r"^COPY --chown=\S+ (.+) \S+$", (ROOT / "cluster/docker/Dockerfile").read_text(), re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source


def test_weekly_job_runs_a_script_that_the_image_holds() -> None:
    interpreter, script, *_ = read(ROOT / "cluster/kuberay/rayjob.yaml")["spec"]["entrypoint"].split()
    assert interpreter == "python"
    assert (ROOT / Path(script).relative_to("/home/ray/plcp")).exists()


def test_jobs_say_how_much_of_a_cluster_they_take_where_its_nodes_come_on_demand() -> None:
    for file in ("ray-cluster.yaml", "cluster/kuberay/rayjob.yaml"):
        options = re.findall(r"--set (score\S+)", (ROOT / file).read_text())
        replica = load(overrides=options).score.replica
        assert replica.gpus == 1
        assert replica.replicas


def test_served_application_passes_ray_serve_s_schema_and_its_own_configuration() -> None:
    deployed = ServeDeploySchema.model_validate(yaml.safe_load(read(ROOT / "cluster/kuberay/rayservice.yaml")["spec"]["serveConfigV2"]))
    application = deployed.applications[0]
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    assert Application.model_validate(application.args).gpus == 1
    assert deployed.http_options.host == application.args["host"]


def test_endpoint_that_others_reach_has_a_token_on_every_node() -> None:
    for container in containers(cluster_spec(read(ROOT / "cluster/kuberay/rayservice.yaml"))):
        assert [variable["name"] for variable in container["env"]] == ["PLCP_TOKEN"]
