"""TLS to PostgreSQL, by libpq. The server that tests run is built without it, so a relay in front of it speaks TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.errors import ReelflowError
from serving.postgres import PostgresStore
from tests.serving.builders import expected, publish, videos
from tests.serving.postgres import Server

pytestmark = pytest.mark.slow

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # what a client sends that wants TLS; the answer is one letter


class Relay:
    """Takes TLS connections on a port of this machine and passes what they say on to the server's socket."""

    def __init__(self, server: Server, certificate: Path) -> None:
        self._target = f"{server.socket}/.s.PGSQL.5432"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.heard = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            first = plain.recv(8)
            if first != _SSL_REQUEST:
                self.heard += first
                return
            plain.sendall(b"S")
            with (
                self._context.wrap_socket(plain, server_side=True) as client,
                socket.socket(socket.AF_UNIX) as server,
            ):
                server.connect(self._target)
                back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                back.start()
                _pass_on(client, server)
                back.join(5)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of ``localhost``, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file = tmp_path / "server.pem"
    file.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, private, serialization.NoEncryption()))
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(pem))
    return file


@pytest.fixture
def relay(postgres: Server, certificate: Path) -> Iterator[Relay]:
    with closing(Relay(postgres, certificate)) as relay:
        yield relay


def url(relay: Relay, options: str, host: str = "localhost") -> str:
    return f"postgresql://postgres@{host}:{relay.port}/reelflow?hostaddr=127.0.0.1&{options}"


def test_a_verified_connection_publishes_and_reads(relay: Relay, certificate: Path) -> None:
    trusted = quote(str(certificate.with_name("ca.pem")), safe="")
    with closing(PostgresStore(url(relay, f"sslmode=verify-full&sslrootcert={trusted}"))) as store:
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)
    assert relay.heard == b""  # nothing in plain text


def test_a_server_that_cannot_be_verified_is_not_spoken_to(relay: Relay, certificate: Path, tmp_path: Path) -> None:
    trusted = quote(str(certificate.with_name("ca.pem")), safe="")
    with pytest.raises(ReelflowError, match=r"certificate.*mend sslrootcert, the host name, or the server's certificate"):
        PostgresStore(url(relay, f"sslmode=verify-full&sslrootcert={trusted}", host="elsewhere.example")).live()
    (tmp_path / "none.pem").write_bytes(b"")
    with pytest.raises(ReelflowError, match="mend sslrootcert"):
        PostgresStore(url(relay, f"sslmode=verify-full&sslrootcert={quote(str(tmp_path / 'none.pem'), safe='')}")).live()
    assert relay.heard == b""


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(postgres: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def refuse() -> None:
            client, _ = listening.accept()
            with client:
                assert client.recv(8) == _SSL_REQUEST
                client.sendall(b"N")
                client.recv(1)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ReelflowError, match=r"does not support SSL.*expected a server that speaks TLS as sslmode asks"):
            PostgresStore(f"postgresql://me:secret@127.0.0.1:{port}/videos?sslmode=require").live()
        thread.join(10)
