"""What `make test` installs is what is absent, and a Java that Kafka cannot run on is."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "dirname", "env", "expr", "make", "mkdir", "mv", "nproc", "rm", "sed")
REDIS = "redis-server"


class Machine:
    """A copy of `infra` and the Makefile, and of programs only what is given it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.programs / tool).symlink_to(found)
        shutil.copytree(ROOT / "infra", folder / "infra")
        shutil.copy(ROOT / "Makefile", folder)
        (folder / ".tools" / "kafka").mkdir(parents=True)
        self.give("mvn", f'mkdir -p "{folder}/.tools/kafka/libs.part"')
        self.installed = folder / "installed"

    def give(self, name: str, script: str = "") -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def give_java(self, version: str) -> None:
        self.give("java", f"echo 'openjdk version \"{version}\" 2024-01-16' >&2")

    def give_apt(self, *packages: str) -> None:
        """Give it an apt that knows these packages, and writes down what it installs."""
        known = "|".join(packages)
        self.give("sudo", 'exec "$@"')
        self.give("apt-get", f'case "$1" in install) echo "$*" >> "{self.installed}";; esac')
        self.give(
            "apt-cache", f'case "$2" in {known}) echo " Candidate: 1";; *) echo "none";; esac'
        )

    def run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": str(self.programs), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def install(self, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.run(str(self.folder / "infra" / "install-test-servers"), **environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("java", [None, "1.8.0_392", "11.0.22", "16"])
def test_a_java_that_is_absent_or_too_old_is_to_be_installed(
    java: str | None, machine: Machine
) -> None:
    machine.give(REDIS)
    if java is not None:
        machine.give_java(java)
    done = machine.install()
    assert done.returncode == 1
    assert "openjdk-17-jre-headless" in done.stderr.splitlines()[0]


@pytest.mark.parametrize("java", ["17", "17.0.10", "21.0.2", "25-ea"])
def test_a_newer_one_will_do(java: str, machine: Machine) -> None:
    machine.give(REDIS)
    machine.give_java(java)
    done = machine.install()
    assert (done.returncode, done.stderr) == (0, "")
    assert (machine.folder / ".tools" / "kafka" / "libs").is_dir()


@pytest.mark.parametrize(
    ("known", "java"),
    [
        (("openjdk-17-jre-headless", "default-jre-headless"), "openjdk-17-jre-headless"),
        (("default-jre-headless",), "default-jre-headless"),
    ],
)
def test_a_release_without_that_java_has_a_newer_one(
    known: tuple[str, ...], java: str, machine: Machine
) -> None:
    machine.give_apt(*known, REDIS)
    machine.install()
    assert machine.installed.read_text().split()[-2:] == [REDIS, java]


def test_servers_that_exist_spare_no_test_its_own(machine: Machine) -> None:
    """Tests that kill servers start them."""
    done = machine.install(RIVERRUN_TEST_REDIS_URL="redis://r/0", RIVERRUN_TEST_KAFKA="k:9092")
    assert done.returncode == 1
    assert REDIS in done.stderr
    assert "openjdk-17-jre-headless" in done.stderr


def test_a_python_that_makes_no_environment_is_given_what_it_lacks(machine: Machine) -> None:
    machine.give("python3", 'test "$1" != -c')
    done = machine.run("make", ".tools/bin/uv")
    assert done.returncode != 0
    assert "python3-venv" in done.stderr.splitlines()[0]
    machine.give_apt("python3-venv")
    machine.run("make", ".tools/bin/uv")
    assert machine.installed.read_text().split()[-1] == "python3-venv"
