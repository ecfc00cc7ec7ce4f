"""What the metrics of every process begin with."""

from prometheus_client import CollectorRegistry, Info

from riverrun import __version__


def new_registry() -> CollectorRegistry:
    """Return a registry whose `riverrun_build_info` names the version that runs."""
    registry = CollectorRegistry()
    build = Info("riverrun_build", "The Riverrun that runs.", registry=registry)
    build.info({"version": __version__})
    return registry
