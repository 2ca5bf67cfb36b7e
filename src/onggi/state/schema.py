"""The schema, drawn once. Each table is owned by one module, which alone writes SQL for it.

    containers     engine.container_store   a row a container; its configuration as the documents the user gave
    events         engine.events            the last events, for `events --since`
    intents        state.journal            transitions begun and not yet settled
    images         images.names             image ID → the manifest and config it was made from, sizes, last use
    image_names    images.names             reference (canonical, with tag or digest) → image ID
    image_blobs    images.names             which blobs of the content store an image needs
    layers         images.layers            diff ID, or chain ID for what completes a layer → its directory, size
    layer_uses     images.layers            which image or container is stacked of which layers, lowest first
    snapshots      images.snapshot          a container's own directories
    rubbish        images.rubbish           directories that are not in use yet, or no more
    leases         images.lease             what a running pull, load or commit keeps from collection
    networks       network.store            networks and their subnets
    endpoints      network.store            one container on one network: address, MAC, published ports
    volumes        volumes.store            named and anonymous volumes
    volume_uses    volumes.store            which container mounts which volume

`MIGRATIONS[n]` brings version n to n + 1; `PRAGMA user_version` holds the version. A released migration is never
edited.
"""

import sqlite3

from onggi.errors import System

MIGRATIONS: list[str] = [
    """
    CREATE TABLE containers (
        id            TEXT PRIMARY KEY,
        name          TEXT NOT NULL UNIQUE,
        created_at    TEXT NOT NULL,
        image_id      TEXT NOT NULL,
        image_name    TEXT NOT NULL,
        state         TEXT NOT NULL,
        pid           INTEGER NOT NULL DEFAULT 0,
        pid_start     INTEGER NOT NULL DEFAULT 0,
        started_at    TEXT NOT NULL DEFAULT '',
        finished_at   TEXT NOT NULL DEFAULT '',
        exit_code     INTEGER NOT NULL DEFAULT 0,
        oom_killed    INTEGER NOT NULL DEFAULT 0,
        error         TEXT NOT NULL DEFAULT '',
        restart_count INTEGER NOT NULL DEFAULT 0,
        stopped_by_user INTEGER NOT NULL DEFAULT 0,
        config        BLOB NOT NULL,
        host_config   BLOB NOT NULL,
        networking    BLOB NOT NULL,
        mounts        BLOB NOT NULL
    ) STRICT;
    CREATE TABLE events (
        sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
        time_ns    INTEGER NOT NULL,
        type       TEXT NOT NULL,
        action     TEXT NOT NULL,
        actor      TEXT NOT NULL,
        attributes BLOB NOT NULL
    ) STRICT;
    CREATE INDEX events_time ON events (time_ns);
    CREATE TABLE intents (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        kind     TEXT NOT NULL,
        subject  TEXT NOT NULL,
        begun_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE images (
        id            TEXT PRIMARY KEY,
        manifest      BLOB NOT NULL,
        media_type    TEXT NOT NULL,
        created_at    TEXT NOT NULL,
        last_used_at  TEXT NOT NULL,
        tagged_at     TEXT NOT NULL,
        size_bytes    INTEGER NOT NULL,
        parent        TEXT NOT NULL,
        config        BLOB NOT NULL
    ) STRICT;
    CREATE TABLE image_names (
        reference  TEXT PRIMARY KEY,
        repository TEXT NOT NULL,
        image_id   TEXT NOT NULL REFERENCES images (id)
    ) STRICT;
    CREATE INDEX image_names_image ON image_names (image_id);
    CREATE TABLE image_blobs (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest   TEXT NOT NULL,
        PRIMARY KEY (image_id, digest)
    ) STRICT;
    CREATE INDEX image_blobs_digest ON image_blobs (digest);
    CREATE TABLE layers (
        key        TEXT PRIMARY KEY,
        diff_id    TEXT NOT NULL,
        directory  TEXT NOT NULL UNIQUE,
        size_bytes INTEGER NOT NULL,
        tar_bytes  INTEGER NOT NULL,
        implied    BLOB NOT NULL
    ) STRICT;
    CREATE TABLE layer_uses (
        user_id   TEXT NOT NULL,
        position  INTEGER NOT NULL,
        layer_key TEXT NOT NULL REFERENCES layers (key),
        PRIMARY KEY (user_id, position)
    ) STRICT;
    CREATE INDEX layer_uses_layer ON layer_uses (layer_key);
    CREATE TABLE snapshots (
        container_id TEXT PRIMARY KEY,
        image_id     TEXT NOT NULL,
        directory    TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE rubbish (
        directory TEXT PRIMARY KEY
    ) STRICT;
    CREATE TABLE leases (
        id         TEXT NOT NULL,
        resource   TEXT NOT NULL,
        created_at TEXT NOT NULL,
        PRIMARY KEY (id, resource)
    ) STRICT;
    CREATE TABLE networks (
        id         TEXT PRIMARY KEY,
        name       TEXT NOT NULL UNIQUE,
        driver     TEXT NOT NULL,
        created_at TEXT NOT NULL,
        document   BLOB NOT NULL
    ) STRICT;
    CREATE TABLE endpoints (
        container_id TEXT NOT NULL,
        network_id   TEXT NOT NULL REFERENCES networks (id),
        address      TEXT NOT NULL,
        document     BLOB NOT NULL,
        PRIMARY KEY (container_id, network_id)
    ) STRICT;
    CREATE UNIQUE INDEX endpoints_address ON endpoints (network_id, address) WHERE address != '';
    CREATE TABLE volumes (
        name       TEXT PRIMARY KEY,
        driver     TEXT NOT NULL,
        created_at TEXT NOT NULL,
        anonymous  INTEGER NOT NULL,
        labels     BLOB NOT NULL,
        options    BLOB NOT NULL
    ) STRICT;
    CREATE TABLE volume_uses (
        container_id TEXT NOT NULL,
        volume_name  TEXT NOT NULL REFERENCES volumes (name),
        PRIMARY KEY (container_id, volume_name)
    ) STRICT;
    """,
    "ALTER TABLE layers ADD COLUMN disk_bytes INTEGER;",
    "ALTER TABLE volumes ADD COLUMN doomed INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE images ADD COLUMN index_digest TEXT NOT NULL DEFAULT '';",
    """
    CREATE TABLE auto_updates (
        name     TEXT PRIMARY KEY,
        image_id TEXT NOT NULL,
        error    TEXT NOT NULL,
        at       TEXT NOT NULL
    ) STRICT;
    """,
]


def is_blank(connection: sqlite3.Connection) -> bool:
    """Nobody has written to it yet."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version == 0


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this release's schema. Raises System when a newer release has written it."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise System(
            f"the state was written by a newer Onggi (schema {version}, this one knows {len(MIGRATIONS)}); "
            "use that version, or give this one a --data-root of its own"
        )
    for number in range(version, len(MIGRATIONS)):
        # executescript commits what is open, so the version is raised inside the same script.
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
