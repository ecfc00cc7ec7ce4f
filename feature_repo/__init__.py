"""What is known about users and items: schema, history, archive and the Feast feature store."""

# Before Feast, which tells the library to keep the counters of whoever imports it later in files
# that processes share.
import prometheus_client  # noqa: F401
