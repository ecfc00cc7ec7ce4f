"""A real Kafka with a listener whose clients must say who they are, over TLS."""

import subprocess
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from streaming.kafka_connection import KafkaConnection
from tests.support.kafka_server import KafkaServer, free_ports

USER, PASSWORD = "shop", "between two banks"

_STORE_PASSWORD = "keystore"
# Of a property that is there twice, the last counts.
_PROPERTIES = """
listeners=PLAINTEXT://{address},CONTROLLER://{controller},SECURE://{secure}
advertised.listeners=PLAINTEXT://{address},SECURE://{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.secure.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PKCS12
listener.name.secure.ssl.keystore.location={store}
listener.name.secure.ssl.keystore.password={store_password}
"""


class SecureKafkaServer(KafkaServer):
    """A broker that `USER` reaches at `secure_address` by `PASSWORD`, PLAIN or SCRAM, over TLS.

    certificate: who the broker is, a PEM file: its own authority, for 127.0.0.1.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (port,) = free_ports(1)
        self.secure_address = f"127.0.0.1:{port}"
        self.certificate = folder / "broker.pem"
        store = folder / "broker.p12"
        _make_key(store, self.certificate)
        with self._properties.open("a") as properties:
            properties.write(
                _PROPERTIES.format(
                    address=self.address,
                    controller=self._controller,
                    secure=self.secure_address,
                    user=USER,
                    password=PASSWORD,
                    store=store,
                    store_password=_STORE_PASSWORD,
                )
            )

    def start(self) -> None:
        """Start the broker and return once it answers and knows `USER`."""
        super().start()
        client = KafkaConnection((self.address,)).client(KafkaAdminClient)
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            user = UserScramCredentialUpsertion(USER, mechanism, PASSWORD)
            assert client.alter_user_scram_credentials([user]) == {USER: None}
        client.close()


def _make_key(store: Path, certificate: Path) -> None:
    """Write a key and its self-signed certificate into `store`, and the latter into a PEM file."""
    common = ["-alias", "broker", "-keystore", str(store), "-storepass", _STORE_PASSWORD]
    make = ["-genkeypair", "-keyalg", "RSA", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1"]
    export = ["-exportcert", "-rfc", "-file", str(certificate)]
    for options in ([*make, "-storetype", "PKCS12"], export):
        subprocess.run(["keytool", *options, *common], check=True, capture_output=True)
