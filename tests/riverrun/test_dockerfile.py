"""infra/Dockerfile installs what is locked, and copies what the project is built from."""

import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from riverrun.settings import load_settings

ROOT = Path(__file__).parents[2]
CRONJOB = ROOT / "infra" / "kubernetes" / "refresh-cronjob.yaml"
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()
LINES = [shlex.split(line, comments=True) for line in DOCKERFILE.replace("\\\n", " ").splitlines()]
INSTRUCTIONS = [line for line in LINES if line]
PACKAGES = ("feature_repo", "riverrun", "serving", "streaming", "trainer")


def copied() -> list[tuple[str, str]]:
    """Return source and destination of everything that comes from the checkout."""
    copies = [line[1:] for line in INSTRUCTIONS if line[0] == "COPY"]
    return [
        (source, words[-1])
        for words in copies
        if not words[0].startswith("--")
        for source in words[:-1]
    ]


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves the path out: of its patterns the last that fits counts."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch(path, pattern):
            left_out = not line.startswith("!")
    return left_out


@pytest.mark.parametrize(("source", "destination"), copied())
def test_what_is_copied_is_there_and_is_sent(source: str, destination: str) -> None:
    assert (ROOT / source).exists()
    assert destination == ("./" if (ROOT / source).is_file() else source)
    assert not ignored(source)


def test_nothing_else_is_sent() -> None:
    sent = {path.name for path in ROOT.iterdir() if not ignored(path.name)}
    assert sent == {source for source, _ in copied()}


def test_everything_is_installed_from_the_lock() -> None:
    installs = [line[1:] for line in INSTRUCTIONS if line[:3] == ["RUN", "pip", "install"]]
    dependencies, project = installs
    assert {"--require-hashes", "--no-deps", "requirements.lock"} <= {*dependencies}
    # The build backend too comes from there.
    assert {"--no-build-isolation", "--no-deps", "."} <= {*project}
    lock = (ROOT / "requirements.lock").read_text()
    assert re.search(r"^hatchling==", lock, re.MULTILINE)


def test_it_does_not_run_as_root() -> None:
    (user,) = [line[1] for line in INSTRUCTIONS if line[0] == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    # Nor does the CronJob, whose volume must belong to that group.
    pod = yaml.safe_load(CRONJOB.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroup": int(user.split(":")[1]),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = pod["containers"]
    # What a namespace of the pod security level "restricted" asks for beside it.
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_libraries_that_packages_link_and_the_base_lacks_are_installed() -> None:
    # `implicit` links libgomp.so.1, which python:slim has not.
    (words,) = [line for line in INSTRUCTIONS if "apt-get" in line]
    assert "libgomp1" in words
    last_stage = max(at for at, line in enumerate(INSTRUCTIONS) if line[0] == "FROM")
    assert INSTRUCTIONS.index(words) > last_stage


def test_the_variables_that_it_sets_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = [line[1:] for line in INSTRUCTIONS if line[0] == "ENV" and len(line) > 2]
    for name, value in (word.split("=", 1) for word in words[1:]):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert ["VOLUME", str(settings.home)] in INSTRUCTIONS
    assert settings.http.host == "0.0.0.0"


def test_the_project_is_built_from_what_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, _ in copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=source, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        built = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES}
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert built == files
