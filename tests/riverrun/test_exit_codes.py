"""What the command ends with, and the one line that says why."""

import pytest

from feature_repo.shop_file import PassingShopFileError, ShopFileError
from riverrun.cli import main
from riverrun.errors import RunFailedError, UserError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("a setting is wrong"), 2),
        (ShopFileError("runs.sqlite: file is not a database"), 2),
        (PassingShopFileError("runs.sqlite: database is locked"), 1),
        (RunFailedError("OOM when allocating tensor"), 1),
    ],
)
def test_what_may_pass_ends_with_another_code_than_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    assert capsys.readouterr().err.splitlines() == [f"riverrun: {error}"]
