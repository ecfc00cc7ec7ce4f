"""Imports Keras and KerasHub without the package that they only draw with.

Modules that use them import them from here: `from trainer.import_keras import keras`.
"""

import sys

_UNUSED = {"matplotlib"} - sys.modules.keys()

# To both it is optional, and takes seconds. Who comes after finds it as if nothing had been.
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]  # None: not to be found
try:
    import keras
    import keras_hub
finally:
    for _name in _UNUSED:
        del sys.modules[_name]

__all__ = ["keras", "keras_hub"]
