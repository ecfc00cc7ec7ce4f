"""How a process that lives long keeps house."""

import subprocess
import sys

MODEL_REPLACED = """
import gc, weakref
from riverrun.interpreter import freeze_modules, settle

class Model:
    def __init__(self):
        self.knot = self

freeze_modules()
frozen = gc.get_freeze_count()
model = Model()
before = weakref.ref(model)
settle()
model = Model()
gc.collect()
print(frozen > 0, before() is None)
"""


def test_what_was_loaded_before_a_process_settled_is_freed_once_it_is_replaced() -> None:
    # In a process of its own: it changes how this one would go on.
    done = subprocess.run(
        [sys.executable, "-c", MODEL_REPLACED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]


LATE = """
import gc, sys
from riverrun.interpreter import FEAST, HTTP, freeze_modules, settle

before = set(sys.modules)
freeze_modules(*FEAST, *HTTP)
import riverrun.embedded
unfrozen = [getattr(each, "__module__", "") for each in gc.get_objects()]
print("feast" in before, "feast" in sys.modules, "uvicorn" in sys.modules)
print(unfrozen.count("feast.feature_store"))
"""


def test_modules_that_are_imported_late_are_frozen_with_the_others() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "0"]
