"""The tables `networks` and `endpoints`."""

import sqlite3
from collections.abc import Sequence

import msgspec

from onggi.network.endpoint import Endpoint
from onggi.network.network import Network

_encode = msgspec.json.Encoder().encode
_network = msgspec.json.Decoder(Network)
_endpoint = msgspec.json.Decoder(Endpoint)


def add_network(connection: sqlite3.Connection, network: Network) -> None:
    connection.execute(
        "INSERT INTO networks (id, name, driver, created_at, document) VALUES (?, ?, ?, ?, ?)",
        (network.id, network.name, network.driver, network.created_at, _encode(network)),
    )


def update_network(connection: sqlite3.Connection, network: Network) -> None:
    connection.execute("UPDATE networks SET document = ? WHERE id = ?", (_encode(network), network.id))


def remove_network(connection: sqlite3.Connection, network_id: str) -> None:
    connection.execute("DELETE FROM networks WHERE id = ?", (network_id,))


def networks(connection: sqlite3.Connection) -> list[Network]:
    rows = connection.execute("SELECT document FROM networks ORDER BY created_at, name")
    return [_network.decode(row["document"]) for row in rows]


def put_endpoints(connection: sqlite3.Connection, container_id: str, endpoints: Sequence[Endpoint]) -> None:
    """What the container has from now on, and nothing else."""
    connection.execute("DELETE FROM endpoints WHERE container_id = ?", (container_id,))
    connection.executemany(
        "INSERT INTO endpoints (container_id, network_id, address, document) VALUES (?, ?, ?, ?)",
        [(container_id, endpoint.network_id, endpoint.address, _encode(endpoint)) for endpoint in endpoints],
    )


def endpoints(connection: sqlite3.Connection) -> dict[str, list[Endpoint]]:
    """All endpoints by container, in the order they were made."""
    found: dict[str, list[Endpoint]] = {}
    for row in connection.execute("SELECT container_id, document FROM endpoints ORDER BY rowid"):
        found.setdefault(row["container_id"], []).append(_endpoint.decode(row["document"]))
    return found
