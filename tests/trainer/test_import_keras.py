"""Importing the trainer loads no library that it makes no use of."""

import subprocess
import sys

IMPORTED = """
import sys
import trainer.train

print({"matplotlib", "kagglehub"} & sys.modules.keys())
import matplotlib.pyplot
print("matplotlib.pyplot" in sys.modules)
"""


def test_what_only_draws_and_downloads_is_not_imported_and_can_be_still() -> None:
    # In a process of its own: others have imported them here.
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["set()", "True"]
