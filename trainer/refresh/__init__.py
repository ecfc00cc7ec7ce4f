"""Renewing the model: from the archive to a bundle that serves, and back.

To follow one refresh, read `running` (one at a time, resumed, written down in the `runs_file`),
`refresh` (its five steps), `steps` (what they do), `resuming` (which of them are left to do, by the
`notes` of a try that was killed) and `gates` (whether the bundle may serve). `bundle_versions` goes
from one bundle to another, `drift` tells when to refresh, `metrics` exports what came of it.

Modules are imported one by one: the settings, the clock and `riverrun models` need no TensorFlow.
"""
