"""What must be so before Feast is imported; who imports Feast imports this first."""

import os

# Feast tells Prometheus's client to keep the counters of whoever imports it later in files that
# processes share.
import prometheus_client  # noqa: F401

os.environ.setdefault("FEAST_USAGE", "False")
