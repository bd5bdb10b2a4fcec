"""nginx with the configuration that we ship, in front of a real web server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core.settings import Settings, load_settings
from tests.conftest import LiveServer, free_port, new_database, serve
from tests.deploy.nginx import running_nginx, write_configuration

HOST = "stoker.example.org"


@dataclass(frozen=True)
class Proxy:
    """nginx in front of `server` and `streams`; `trust` knows its certificate."""

    server: LiveServer
    streams: LiveServer
    http_port: int
    https_port: int
    trust: ssl.SSLContext

    @property
    def authority(self) -> str:
        """What a browser would send as Host."""
        return f"{HOST}:{self.https_port}"


@pytest.fixture(scope="session")
def database_url(postgres: str, template_database: str) -> Iterator[str]:
    """One database for all that is asked through nginx."""
    with new_database(postgres, template_database) as url:
        yield url


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Settings:
    """Settings of the web servers behind nginx."""
    var = tmp_path_factory.mktemp("var")
    return load_settings(
        var=var, database_url=database_url, min_free_disk_bytes=0, secure_cookies=True
    )


@pytest.fixture(scope="session")
def proxy(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """nginx on free ports, with our configuration but for ports, addresses and certificate."""
    folder = tmp_path_factory.mktemp("nginx")
    with (
        serve(settings, folder) as server,
        serve(settings, folder, "gunicorn_streams.py") as streams,
        _nginx(folder, server, streams) as proxy,
    ):
        yield proxy


@contextmanager
def _nginx(folder: Path, server: LiveServer, streams: LiveServer) -> Iterator[Proxy]:
    _write_certificate(folder)
    http_port, https_port = free_port(), free_port()
    upstreams = urlsplit(server.url).netloc, urlsplit(streams.url).netloc
    _write_configuration(folder, *upstreams, http_port, https_port)
    with running_nginx(folder, https_port):
        trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        yield Proxy(server, streams, http_port, https_port, trust)


def _write_configuration(
    folder: Path, upstream: str, streams: str, http_port: int, https_port: int
) -> None:
    changes = {
        "server 127.0.0.1:4080;": f"server {upstream};",
        "server 127.0.0.1:4081;": f"server {streams};",
        "server 127.0.0.1:4080 backup;": f"server {upstream} backup;",
        "listen 80;": f"listen 127.0.0.1:{http_port};",
        "listen [::]:80;": "",
        "listen 443 ssl;": f"listen 127.0.0.1:{https_port} ssl;",
        "listen [::]:443 ssl;": "",
        "/etc/ssl/stoker/fullchain.pem": f"{folder}/certificate.pem",
        "/etc/ssl/stoker/privkey.pem": f"{folder}/key.pem",
    }
    write_configuration(folder, "nginx.conf", changes)


def _write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
