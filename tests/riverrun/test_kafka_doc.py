"""The producers that README and infra/docs/kafka.md show are enough to feed the system."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo.event_log import EVENTS
from feature_repo.schema import Event
from riverrun.settings import load_settings
from streaming.decode import Decoder
from streaming.kafka_log import KafkaLog
from tests.support.kafka_server import JARS, fresh_topics

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "infra" / "docs" / "kafka.md"


def blocks(language: str, document: Path = DOCUMENT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), flags=re.DOTALL)


@pytest.fixture
def log(kafka_address: str) -> Iterator[KafkaLog]:
    log = KafkaLog(fresh_topics(kafka_address))
    yield log
    log.close()


def here(text: str, log: KafkaLog) -> str:
    """Return `text` with this test's broker and topic instead of the document's."""
    connection = log._connection
    text = re.sub(r"\bbroker(-1)?:9092\b", connection.servers[0], text)
    return text.replace("shop.events", connection.topic(EVENTS))


def the_event(log: KafkaLog) -> Event:
    (record,) = log.consumer("worker", [EVENTS]).poll(10, 30.0)
    change = Decoder((), timedelta(days=1)).decode(record)
    assert isinstance(change, Event)
    return change


@pytest.mark.kafka
@pytest.mark.parametrize(("document", "value"), [(DOCUMENT, 18.5), (ROOT / "README.md", None)])
def test_the_script_is_enough(log: KafkaLog, document: Path, value: float | None) -> None:
    (script,) = (block for block in blocks("python", document) if "KafkaProducer" in block)
    subprocess.run([sys.executable, "-c", here(script, log)], check=True, timeout=60)
    event = the_event(log)
    assert (event.user_id, event.item_id, event.value) == ("u42", "i7", value)


@pytest.mark.kafka
def test_the_console_producer_is_enough(log: KafkaLog) -> None:
    command = next(block for block in blocks("sh") if "kafka-console-producer.sh" in block)
    # What the script of that name starts.
    java = f"java -Xmx128m -cp '{JARS}/*' org.apache.kafka.tools.ConsoleProducer"
    command = here(command, log).replace("kafka-console-producer.sh", java)
    subprocess.run(["bash", "-c", command], check=True, timeout=60)
    assert the_event(log).event_id == "order-881-line-1"


def test_the_settings_are_settings(tmp_path: Path) -> None:
    for block in blocks("toml"):
        file = tmp_path / "riverrun.toml"
        file.write_text(block)
        load_settings(file)
