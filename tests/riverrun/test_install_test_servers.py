"""`infra/install-test-servers` installs what is absent, and a Java that Kafka cannot run on is."""

import shutil
import subprocess
from pathlib import Path

import pytest

INFRA = Path(__file__).parents[2] / "infra"
TOOLS = ("bash", "dirname", "mkdir", "mv", "rm", "sed")


def install(folder: Path, java: str | None) -> "subprocess.CompletedProcess[str]":
    """Run it in a copy of `infra`, where there is all but apt-get, and a `java` of a version."""
    programs = folder / "bin"
    programs.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (programs / tool).symlink_to(found)
    stand_ins = {"redis-server": "", "mvn": f'mkdir -p "{folder}/.tools/kafka/libs.part"'}
    if java is not None:
        stand_ins["java"] = f"echo 'openjdk version \"{java}\" 2024-01-16' >&2"
    for name, script in stand_ins.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    shutil.copytree(INFRA, folder / "infra")
    (folder / ".tools" / "kafka").mkdir(parents=True)
    return subprocess.run(
        [folder / "infra" / "install-test-servers"],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("java", [None, "1.8.0_392", "11.0.22", "16"])
def test_a_java_that_is_absent_or_too_old_is_to_be_installed(
    java: str | None, tmp_path: Path
) -> None:
    done = install(tmp_path, java)
    assert done.returncode == 1
    assert "openjdk-17-jre-headless" in done.stderr.splitlines()[0]


@pytest.mark.parametrize("java", ["17", "17.0.10", "21.0.2", "25-ea"])
def test_a_newer_one_will_do(java: str, tmp_path: Path) -> None:
    done = install(tmp_path, java)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / ".tools" / "kafka" / "libs").is_dir()
