"""The version stands in one place, and a running process says it."""

from pathlib import Path

from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from riverrun import __version__

ROOT = Path(__file__).parents[2]


def test_the_package_is_built_as_the_version_that_the_program_says() -> None:
    metadata = ProjectMetadata(str(ROOT), PluginManager())
    assert metadata.dynamic == ["version"]
    assert metadata.version == __version__


def test_the_changelog_has_a_section_of_the_version() -> None:
    assert f"\n## {__version__} - 20" in (ROOT / "CHANGELOG.md").read_text()
