import os
from pathlib import Path

import pytest

from riverrun.cli.rebuild import rebuild
from riverrun.errors import UserError


def open_files(folder: Path) -> list[str]:
    handles = Path("/proc/self/fd").iterdir()
    return [file for file in map(os.path.realpath, handles) if file.startswith(f"{folder}/")]


def test_a_command_leaves_nothing_open_where_not_all_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    settings = tmp_path / "riverrun.toml"
    settings.write_text('online_url = "redis://localhost/first"\n')
    with pytest.raises(UserError, match="online_url"):
        rebuild(tmp_path, settings)
    assert open_files(tmp_path) == []
