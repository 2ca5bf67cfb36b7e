"""The table `containers`: what survives of a Container."""

import sqlite3
from datetime import datetime
from pathlib import Path

import msgspec

from onggi.engine.container import Container
from onggi.engine.container_config import ContainerConfig, EndpointSettings, HostConfig
from onggi.engine.lifecycle import State
from onggi.volumes.mount_point import MountPoint

_encode = msgspec.json.Encoder().encode
_decode_config = msgspec.json.Decoder(ContainerConfig).decode
_decode_host_config = msgspec.json.Decoder(HostConfig).decode
_decode_endpoints = msgspec.json.Decoder(dict[str, EndpointSettings]).decode
_decode_mounts = msgspec.json.Decoder(tuple[MountPoint, ...]).decode

_INSERT = """INSERT INTO containers (id, name, created_at, image_id, image_name, state, config, host_config, networking,
    mounts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_UPDATE_STATE = """UPDATE containers SET state = ?, pid = ?, pid_start = ?, started_at = ?, finished_at = ?,
    exit_code = ?, oom_killed = ?, error = ?, restart_count = ?, stopped_by_user = ? WHERE id = ?"""


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def insert(connection: sqlite3.Connection, container: Container) -> None:
    """A new row. Raises sqlite3.IntegrityError when the name is taken."""
    connection.execute(
        _INSERT,
        (
            container.id,
            container.name,
            container.created_at.isoformat(),
            container.image_id,
            container.image_name,
            container.state,
            _encode(container.config),
            _encode(container.host_config),
            _encode(container.endpoints),
            _encode(container.mounts),
        ),
    )


StateRow = tuple[str, int, int, str, str, int, int, str, int, int, str]


def state_row(container: Container) -> StateRow:
    """The state's columns as they are now: taken on the loop, written later by `update_state`."""
    return (
        str(container.state),
        container.pid,
        container.pid_start,
        _text(container.started_at),
        _text(container.finished_at),
        container.exit_code,
        int(container.oom_killed),
        container.error,
        container.restart_count,
        int(container.stopped_by_user),
        container.id,
    )


def update_state(connection: sqlite3.Connection, row: StateRow) -> None:
    connection.execute(_UPDATE_STATE, row)


def update_name(connection: sqlite3.Connection, container_id: str, name: str) -> None:
    """Raises sqlite3.IntegrityError when the name is taken."""
    connection.execute("UPDATE containers SET name = ? WHERE id = ?", (name, container_id))


def update_host_config(connection: sqlite3.Connection, container_id: str, host_config: HostConfig) -> None:
    connection.execute("UPDATE containers SET host_config = ? WHERE id = ?", (_encode(host_config), container_id))


def update_configuration(connection: sqlite3.Connection, container: Container) -> None:
    """What was asked of it, all of it; see `changing`."""
    connection.execute(
        "UPDATE containers SET config = ?, host_config = ?, mounts = ? WHERE id = ?",
        (_encode(container.config), _encode(container.host_config), _encode(container.mounts), container.id),
    )


def update_endpoints(connection: sqlite3.Connection, container_id: str, endpoints: dict[str, EndpointSettings]) -> None:
    connection.execute("UPDATE containers SET networking = ? WHERE id = ?", (_encode(endpoints), container_id))


def delete(connection: sqlite3.Connection, container_id: str) -> None:
    connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))


def load(connection: sqlite3.Connection, directory: Path) -> list[Container]:
    """Every container, oldest first; `directory` holds one directory for each."""
    return [
        Container(
            id=row["id"],
            name=row["name"],
            created_at=datetime.fromisoformat(row["created_at"]),
            image_id=row["image_id"],
            image_name=row["image_name"],
            config=_decode_config(row["config"]),
            host_config=_decode_host_config(row["host_config"]),
            endpoints=_decode_endpoints(row["networking"]),
            mounts=_decode_mounts(row["mounts"]),
            directory=directory / row["id"],
            state=State(row["state"]),
            pid=row["pid"],
            pid_start=row["pid_start"],
            started_at=_moment(row["started_at"]),
            finished_at=_moment(row["finished_at"]),
            exit_code=row["exit_code"],
            oom_killed=bool(row["oom_killed"]),
            error=row["error"],
            restart_count=row["restart_count"],
            stopped_by_user=bool(row["stopped_by_user"]),
        )
        for row in connection.execute("SELECT * FROM containers ORDER BY created_at, id")
    ]
