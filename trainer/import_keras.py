"""Imports Keras and KerasHub without the packages that they only draw and download with.

Modules that use them import them from here: `from trainer.import_keras import keras`.
"""

import sys

_UNUSED = {"matplotlib", "kagglehub"} - sys.modules.keys()

# To both they are optional, and take a fifth of the seconds that importing the trainer does. Who
# comes after finds them as if nothing had been.
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]  # None: not to be found
try:
    import keras
    import keras_hub
finally:
    for _name in _UNUSED:
        del sys.modules[_name]

__all__ = ["keras", "keras_hub"]
