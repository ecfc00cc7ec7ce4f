"""Importing the trainer loads no library that it makes no use of."""

import os
import subprocess
import sys
from pathlib import Path

IMPORTED = """
import sys
import trainer.train

print({"matplotlib"} & sys.modules.keys())
import matplotlib.pyplot
print("matplotlib.pyplot" in sys.modules)
"""


def test_what_only_draws_is_not_imported_and_can_be_still() -> None:
    # In a process of its own: others have imported them here.
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["set()", "True"]


SET_UP = """
from trainer.import_keras import keras
import tf_keras

print(keras.config.backend(), keras.config.floatx(), tf_keras.backend.floatx())
"""


def test_how_a_person_has_set_up_keras_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / ".keras" / "keras.json"
    file.parent.mkdir()
    written = '{"backend": "torch", "floatx": "float16"}'
    file.write_text(written)
    done = subprocess.run(
        [sys.executable, "-c", SET_UP],
        env={**os.environ, "HOME": str(tmp_path), "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["tensorflow", "float32", "float32"]
    assert file.read_text() == written
