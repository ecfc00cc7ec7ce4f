"""What infra/kubernetes gives a cluster to run, and which ends of it are failures there."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from feature_repo.archive import Archive
from riverrun.cli import refresh
from tests.support.stream import event, item
from trainer.refresh.lock import refresh_lock

CRONJOB = Path(__file__).parents[2] / "infra" / "kubernetes" / "refresh-cronjob.yaml"


@pytest.fixture
def job() -> Any:
    return yaml.safe_load(CRONJOB.read_text())["spec"]["jobTemplate"]["spec"]


def ends_with(container: Any, code: int, folder: Path) -> int:
    """Return what the container ends with where `riverrun` ends with `code`."""
    stand_in = folder / "riverrun"
    stand_in.write_text(f"#!/bin/sh\nexit {code}\n")
    stand_in.chmod(0o755)
    command = [*container["command"], *container["args"]]
    return subprocess.run(
        command, env={"PATH": f"{folder}:{os.environ['PATH']}"}, timeout=60, check=False
    ).returncode


def test_a_refresh_that_ends_as_it_may_is_no_failed_job(job: Any, tmp_path: Path) -> None:
    (container,) = job["template"]["spec"]["containers"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    for code in (0, refresh.REFUSED, refresh.AT_WORK):
        assert ends_with(container, code, tmp_path) == 0
    # One is tried again, the other is given up.
    assert ends_with(container, 1, tmp_path) == 1
    assert ends_with(container, 2, tmp_path) == 2
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])


def test_a_refresh_is_told_that_its_pod_ends(job: Any, tmp_path: Path) -> None:
    (container,) = job["template"]["spec"]["containers"]
    stand_in = tmp_path / "riverrun"
    stand_in.write_text(
        "#!/bin/sh\ntrap 'echo told; exit 4' TERM\necho begun\nwhile :; do sleep 0.1; done\n"
    )
    stand_in.chmod(0o755)
    command = [*container["command"], *container["args"]]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "begun\n"
        shell.terminate()
        said, _ = shell.communicate(timeout=60)
    assert (said, shell.returncode) == ("told\n", 4)


def test_a_refresh_that_hangs_does_not_keep_the_next_ones_from_starting(job: Any) -> None:
    assert yaml.safe_load(CRONJOB.read_text())["spec"]["concurrencyPolicy"] == "Forbid"
    assert 0 < job["activeDeadlineSeconds"] < 86_400


def test_the_job_reads_the_shops_settings(job: Any) -> None:
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    (variable,) = container["env"]
    assert variable["name"] == "RIVERRUN_SETTINGS"
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert "configMap" in volumes[mounts[str(Path(variable["value"]).parent)]]


def test_the_job_is_told_passwords_by_a_secret_where_there_is_one(job: Any) -> None:
    (container,) = job["template"]["spec"]["containers"]
    (source,) = container["envFrom"]
    assert source["secretRef"]["optional"] is True
    assert f"create secret generic {source['secretRef']['name']} " in CRONJOB.read_text()


def test_the_pod_is_told_of_no_service(job: Any) -> None:
    assert job["template"]["spec"]["enableServiceLinks"] is False


def test_beside_another_refresh_the_command_ends_with_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive(tmp_path / "archive")
    archive.write_items("some", [item(1)])
    archive.events.write("some", [event(1)])
    with refresh_lock(tmp_path / "bundles"), pytest.raises(typer.Exit) as ended:
        refresh.refresh(home=tmp_path)
    assert ended.value.exit_code == refresh.AT_WORK
    assert "another refresh is at work" in " ".join(capsys.readouterr().err.split())
