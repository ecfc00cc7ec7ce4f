"""What the README installs for the client is all that it imports, and type checkers read it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

README = Path(__file__).parents[3] / "README.md"
OWN = {"riverrun", "trainer", "streaming", "serving", "feature_repo", "tests"}
SCRIPT = """
import sys
from importlib.abc import MetaPathFinder

absent = set(sys.argv[1:])

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import httpx
from riverrun.client import Client

answer = httpx.Response(200, json={"status": "alive"})
with Client("http://x", transport=httpx.MockTransport(lambda _: answer)) as shop:
    assert shop.healthz().status == "alive"
"""


def with_what_they_need(names: list[str]) -> Iterator[str]:
    """Yield the distributions and all that they require, without extras."""
    seen: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name in seen:
            continue
        seen.add(name)
        yield name
        try:
            needs = [Requirement(each) for each in requires(name) or ()]
        except PackageNotFoundError:  # an optional one, or of another system
            continue
        names += [
            each.name for each in needs if not each.marker or each.marker.evaluate({"extra": ""})
        ]


def test_the_client_imports_what_the_readme_installs_and_nothing_else() -> None:
    (named,) = re.findall(r"^pip install (.*?) +#", README.read_text(), re.MULTILINE)
    installed = {*with_what_they_need(named.split())}
    absent = {
        module
        for module, distributions in packages_distributions().items()
        if not installed.intersection(map(canonicalize_name, distributions))
    }
    assert {"tensorflow", "feast", "prometheus_client"} <= absent
    command = [sys.executable, "-c", SCRIPT, *(absent - OWN)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_type_checkers_read_the_types_of_what_is_installed(tmp_path: Path) -> None:
    """Of a package without its marker they would take everything for `Any`.

    That the markers get into what is built, `test_dockerfile.py` holds.
    """
    imports = f"import {', '.join(sorted(OWN - {'tests'}))}"
    command = [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir=/dev/null"]
    done = subprocess.run(
        [*command, "-c", imports],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
