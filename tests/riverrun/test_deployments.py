"""The workers and servers of infra/kubernetes are started, probed and stopped as they are made."""

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from starlette.routing import Match

from riverrun.cli.main import app
from tests.support.tiny_shop import tiny_shop

FOLDER = Path(__file__).parents[2] / "infra" / "kubernetes"
DEPLOYMENTS = ("riverrun-workers", "riverrun-servers")


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    read = yaml.safe_load_all((FOLDER / "workers-and-servers.yaml").read_text())
    return {each["metadata"]["name"]: each for each in read}


def pod_of(document: Any) -> tuple[Any, Any]:
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_command_knows_its_arguments(documents: dict[str, Any], name: str) -> None:
    _, container = pod_of(documents[name])
    group = typer.main.get_command(app)
    command, *arguments = container["args"]
    with group.commands[command].make_context(command, arguments) as context:  # type: ignore[attr-defined]
        (port,) = (value for key, value in context.params.items() if key.endswith("port"))
        (host,) = (value for key, value in context.params.items() if key.endswith("host"))
    (listening,) = container["ports"]
    # Nothing outside of the pod reaches its own 127.0.0.1.
    assert (host, port) == ("0.0.0.0", listening["containerPort"])


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_have_what_a_refresh_has(documents: dict[str, Any], name: str) -> None:
    job = yaml.safe_load((FOLDER / "refresh-cronjob.yaml").read_text())["spec"]["jobTemplate"]
    (pod, container), (theirs, other) = pod_of(documents[name]), pod_of(job)
    for key in ("image", "securityContext", "env", "envFrom", "volumeMounts"):
        assert container[key] == other[key]
    for key in ("volumes", "securityContext", "enableServiceLinks"):
        assert pod[key] == theirs[key]
    labels = documents[name]["spec"]["template"]["metadata"]["labels"]
    assert documents[name]["spec"]["selector"]["matchLabels"] == labels


def test_what_is_done_first_is_done_as_the_pods_will_run() -> None:
    claim, pod = yaml.safe_load_all((FOLDER / "first-start.yaml").read_text())
    job = yaml.safe_load((FOLDER / "refresh-cronjob.yaml").read_text())["spec"]["jobTemplate"]
    theirs, other = pod_of(job)
    (container,) = pod["spec"]["containers"]
    for key in ("image", "securityContext", "env", "envFrom", "volumeMounts"):
        assert container[key] == other[key]
    for key in ("volumes", "securityContext", "enableServiceLinks"):
        assert pod["spec"][key] == theirs[key]
    assert {"claimName": claim["metadata"]["name"]} in [
        volume.get("persistentVolumeClaim") for volume in theirs["volumes"]
    ]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_servers_are_probed_where_they_answer(documents: dict[str, Any], tmp_path: Path) -> None:
    _, container = pod_of(documents["riverrun-servers"])
    with tiny_shop(tmp_path) as shop:
        routes = shop.app.routes
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        scope = {"type": "http", "method": "GET", "path": path}
        assert any(route.matches(scope)[0] is Match.FULL for route in routes), path
    service = documents["riverrun"]["spec"]
    assert service["selector"] == documents["riverrun-servers"]["spec"]["selector"]["matchLabels"]
    assert {each["targetPort"] for each in service["ports"]} == {
        each["name"] for each in container["ports"]
    }
