"""A Kafka and a Redis for development, until Ctrl-C: `make dev-servers`."""

import signal
import tempfile
from pathlib import Path

from tests.support.kafka_server import kafka_server
from tests.support.redis_server import redis_server


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory() as folder,
        kafka_server(Path(folder)) as kafka,
        redis_server(Path(folder)) as redis,
    ):
        print(f"export RIVERRUN_LOG_URL=kafka://{kafka}")
        print(f"export RIVERRUN_ONLINE_URL={redis}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
