"""The schema, drawn once. Each table is owned by one module, which alone writes SQL for it.

    users ─┬─ members ─── projects ─┬─ repositories ─┬─ manifests ─── manifest_references
           ├─ refresh_tokens        ├─ robots        ├─ tags ─── tag_history
           ├─ cli_secrets           └─ settings…     ├─ repository_blobs ─── blobs ─── (file or object `key`)
           └─ identities                             └─ uploads ─── (file or object `key`)
    events ─── jobs                                      garbage

    settings             settings_store  secrets and the few values that are neither a project's nor a user's
    users                users           people; the password as argon2 text
    refresh_tokens       tokens          what `docker login` keeps when it is given an identity token
    sessions             page.sessions   browsers that are signed in
    cli_secrets          cli_secrets     what stands for a person's password in programs
    identities           oidc.identities who a person is at an OpenID Connect provider: issuer and subject
    used_attempts        oidc.attempts   log-ins that have come back from the provider, until they expire
    projects             projects        name, public or not, quota, rules
    members              projects        user → role in a project
    robots               robots          accounts of programs: scopes, expiry
    repositories         repositories    full name → project
    blobs                blobs           digest → the object that holds its bytes (a new key for each upload)
    repository_blobs     blobs           which repository may give which blob out; the only proof that it may
    uploads              uploads         sessions; each names the key its bytes will have, before they have it
    garbage              garbage         keys whose bytes nobody names any more, to be deleted
    manifests            manifests       the documents themselves; `deleted_at` while they can still be brought back
    manifest_references  manifests       what a manifest names: config, layers, entries of an index
    tags                 tags            tag → manifest
    tag_history          tags            each move of a tag
    image_details        details         platform and labels of an image, for search and the page
    events               events          what happened, for webhooks and the page
    jobs                 jobs            work to be done once: scans, webhooks, replication, retention
    audit                audit           who did what, and was it allowed
    advisory_sources, advisories, ratings    scanning.advisory_store   what is known to be wrong with packages
    webhooks, deliveries webhooks.hooks  who is told of what happens, and what came of it
    remotes              remotes         other registries, and who we are to them
    upstreams            upstream.upstreams  which project is a cache of which remote
    replication_rules, _runs, _items     replication.rules, .runs    what is copied to and from remotes, and what came of it
    policies             trust.policies  who must have signed, what must not be wrong
    scans, scan_packages, ignores            scanning.scans            what is in images, what is wrong, what is set aside

A blob's bytes are named by a key made for one upload, never by their digest: deleting a key can then not hit the bytes
that another push of the same digest has just stored. In the order of a push: upload row with the key → bytes under the
key, synced → one transaction (blob, link, upload row gone). A crash in between leaves an upload row, whose expiry
deletes the key.

`MIGRATIONS` are applied in order, each once, by name; a released one is never edited. Written for SQLite; `Dialect`
says what other databases call the types.
"""

from collections.abc import Iterator

FOUNDATION = """
    CREATE TABLE settings (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE users (
        id            INTEGER PRIMARY KEY,
        name          TEXT NOT NULL UNIQUE,
        password_hash TEXT NOT NULL,
        email         TEXT NOT NULL DEFAULT '',
        admin         INTEGER NOT NULL DEFAULT 0,
        disabled      INTEGER NOT NULL DEFAULT 0,
        one_time      INTEGER NOT NULL DEFAULT 0,
        generation    INTEGER NOT NULL DEFAULT 1,
        created_at    TEXT NOT NULL,
        signed_in_at  TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE refresh_tokens (
        token_hash   TEXT PRIMARY KEY,
        user_id      INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        generation   INTEGER NOT NULL,
        service      TEXT NOT NULL,
        client_id    TEXT NOT NULL,
        created_at   TEXT NOT NULL,
        expires_at   TEXT NOT NULL
    ) STRICT;
    CREATE TABLE projects (
        id          INTEGER PRIMARY KEY,
        name        TEXT NOT NULL UNIQUE,
        public      INTEGER NOT NULL,
        description TEXT NOT NULL DEFAULT '',
        quota_bytes INTEGER NOT NULL DEFAULT 0,
        immutable   TEXT NOT NULL DEFAULT '[]',
        retention   TEXT NOT NULL DEFAULT '[]',
        created_at  TEXT NOT NULL
    ) STRICT;
    CREATE TABLE members (
        project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
        user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        role       TEXT NOT NULL,
        PRIMARY KEY (project_id, user_id)
    ) STRICT;
    CREATE INDEX members_user ON members (user_id);
    CREATE TABLE robots (
        id           INTEGER PRIMARY KEY,
        name         TEXT NOT NULL UNIQUE,
        project_id   INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
        secret_hash  TEXT NOT NULL,
        scopes       TEXT NOT NULL,
        disabled     INTEGER NOT NULL DEFAULT 0,
        created_by   TEXT NOT NULL,
        created_at   TEXT NOT NULL,
        expires_at   TEXT NOT NULL,
        used_at      TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX robots_project ON robots (project_id);
    CREATE TABLE repositories (
        id          INTEGER PRIMARY KEY,
        project_id  INTEGER NOT NULL REFERENCES projects (id),
        name        TEXT NOT NULL UNIQUE,
        description TEXT NOT NULL DEFAULT '',
        created_at  TEXT NOT NULL,
        updated_at  TEXT NOT NULL,
        pulls       INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX repositories_project ON repositories (project_id, name);
    CREATE TABLE blobs (
        digest     TEXT PRIMARY KEY,
        key        TEXT NOT NULL UNIQUE,
        size_bytes INTEGER NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE repository_blobs (
        repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
        digest        TEXT NOT NULL REFERENCES blobs (digest),
        linked_at     TEXT NOT NULL,
        PRIMARY KEY (repository_id, digest)
    ) STRICT;
    CREATE INDEX repository_blobs_digest ON repository_blobs (digest);
    CREATE TABLE uploads (
        id            TEXT PRIMARY KEY,
        repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
        subject       TEXT NOT NULL,
        key           TEXT NOT NULL UNIQUE,
        size_bytes    INTEGER NOT NULL DEFAULT 0,
        created_at    TEXT NOT NULL,
        updated_at    TEXT NOT NULL
    ) STRICT;
    CREATE INDEX uploads_repository ON uploads (repository_id);
    CREATE TABLE garbage (
        key   TEXT PRIMARY KEY,
        since TEXT NOT NULL
    ) STRICT;
    CREATE TABLE manifests (
        repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
        digest        TEXT NOT NULL,
        media_type    TEXT NOT NULL,
        artifact_type TEXT NOT NULL,
        subject       TEXT NOT NULL,
        size_bytes    INTEGER NOT NULL,
        content       BLOB NOT NULL,
        pushed_at     TEXT NOT NULL,
        pushed_by     TEXT NOT NULL,
        pulled_at     TEXT NOT NULL DEFAULT '',
        deleted_at    TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (repository_id, digest)
    ) STRICT;
    CREATE INDEX manifests_subject ON manifests (repository_id, subject) WHERE subject != '';
    CREATE TABLE manifest_references (
        repository_id INTEGER NOT NULL,
        manifest      TEXT NOT NULL,
        digest        TEXT NOT NULL,
        kind          TEXT NOT NULL,
        PRIMARY KEY (repository_id, manifest, digest),
        FOREIGN KEY (repository_id, manifest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX manifest_references_digest ON manifest_references (repository_id, digest);
    CREATE TABLE tags (
        repository_id INTEGER NOT NULL,
        name          TEXT NOT NULL,
        digest        TEXT NOT NULL,
        updated_at    TEXT NOT NULL,
        updated_by    TEXT NOT NULL,
        PRIMARY KEY (repository_id, name),
        FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
    ) STRICT;
    CREATE INDEX tags_digest ON tags (repository_id, digest);
    CREATE TABLE tag_history (
        sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
        repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
        tag           TEXT NOT NULL,
        digest        TEXT NOT NULL,
        action        TEXT NOT NULL,
        at            TEXT NOT NULL,
        by            TEXT NOT NULL
    ) STRICT;
    CREATE INDEX tag_history_tag ON tag_history (repository_id, tag, sequence);
    CREATE TABLE image_details (
        repository_id INTEGER NOT NULL,
        digest        TEXT NOT NULL,
        name          TEXT NOT NULL,
        value         TEXT NOT NULL,
        PRIMARY KEY (repository_id, digest, name),
        FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX image_details_value ON image_details (name, value);
    CREATE TABLE events (
        sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
        at         TEXT NOT NULL,
        kind       TEXT NOT NULL,
        project    TEXT NOT NULL,
        repository TEXT NOT NULL,
        reference  TEXT NOT NULL,
        digest     TEXT NOT NULL,
        actor      TEXT NOT NULL,
        details    TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_project ON events (project, sequence);
    CREATE TABLE jobs (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        kind        TEXT NOT NULL,
        subject     TEXT NOT NULL,
        payload     BLOB NOT NULL,
        state       TEXT NOT NULL,
        attempts    INTEGER NOT NULL DEFAULT 0,
        run_at      TEXT NOT NULL,
        leased_until TEXT NOT NULL DEFAULT '',
        created_at  TEXT NOT NULL,
        finished_at TEXT NOT NULL DEFAULT '',
        error       TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX jobs_due ON jobs (state, run_at);
    CREATE UNIQUE INDEX jobs_waiting ON jobs (kind, subject) WHERE state = 'waiting' AND subject != '';
    CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        at       TEXT NOT NULL,
        actor    TEXT NOT NULL,
        address  TEXT NOT NULL,
        action   TEXT NOT NULL,
        project  TEXT NOT NULL,
        subject  TEXT NOT NULL,
        outcome  TEXT NOT NULL,
        details  TEXT NOT NULL
    ) STRICT;
    CREATE INDEX audit_project ON audit (project, sequence);
"""

SCANNING = """
    CREATE TABLE advisory_sources (
        name        TEXT PRIMARY KEY,
        form        TEXT NOT NULL,
        location    TEXT NOT NULL,
        generation  INTEGER NOT NULL,
        imported_at TEXT NOT NULL,
        advisories  INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE advisories (
        source     TEXT NOT NULL,
        generation INTEGER NOT NULL,
        ecosystem  TEXT NOT NULL,
        package    TEXT NOT NULL,
        content    BLOB NOT NULL
    ) STRICT;
    CREATE INDEX advisories_package ON advisories (ecosystem, package);
    CREATE INDEX advisories_source ON advisories (source, generation);
    CREATE TABLE ratings (
        source     TEXT NOT NULL,
        generation INTEGER NOT NULL,
        id         TEXT NOT NULL,
        content    BLOB NOT NULL
    ) STRICT;
    CREATE INDEX ratings_id ON ratings (id);
    CREATE INDEX ratings_source ON ratings (source, generation);
    CREATE TABLE scans (
        repository_id INTEGER NOT NULL,
        digest        TEXT NOT NULL,
        state         TEXT NOT NULL,
        scanned_at    TEXT NOT NULL,
        inventory     BLOB NOT NULL,
        findings      BLOB NOT NULL,
        error         TEXT NOT NULL,
        PRIMARY KEY (repository_id, digest),
        FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
    ) STRICT;
    CREATE TABLE scan_packages (
        repository_id INTEGER NOT NULL,
        digest        TEXT NOT NULL,
        name          TEXT NOT NULL,
        version       TEXT NOT NULL,
        PRIMARY KEY (repository_id, digest, name, version),
        FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX scan_packages_name ON scan_packages (name, version);
    CREATE TABLE ignores (
        project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
        problem    TEXT NOT NULL,
        package    TEXT NOT NULL,
        reason     TEXT NOT NULL,
        until      TEXT NOT NULL,
        by         TEXT NOT NULL,
        at         TEXT NOT NULL,
        PRIMARY KEY (project_id, problem, package)
    ) STRICT;
"""

POLICIES = """
    CREATE TABLE policies (
        project_id INTEGER PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
        content    TEXT NOT NULL,
        changed_by TEXT NOT NULL,
        changed_at TEXT NOT NULL
    ) STRICT;
    ALTER TABLE scans ADD COLUMN known_since TEXT NOT NULL DEFAULT '{}';
"""

WEBHOOKS = """
    CREATE TABLE webhooks (
        id           INTEGER PRIMARY KEY,
        project_id   INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
        url          TEXT NOT NULL,
        secret       TEXT NOT NULL,
        events       TEXT NOT NULL,
        repositories TEXT NOT NULL,
        enabled      INTEGER NOT NULL,
        created_by   TEXT NOT NULL,
        created_at   TEXT NOT NULL
    ) STRICT;
    CREATE INDEX webhooks_project ON webhooks (project_id);
    CREATE TABLE deliveries (
        sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
        webhook_id INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
        name       TEXT NOT NULL UNIQUE,
        event      TEXT NOT NULL,
        body       BLOB NOT NULL,
        state      TEXT NOT NULL,
        status     INTEGER NOT NULL DEFAULT 0,
        error      TEXT NOT NULL DEFAULT '',
        attempts   INTEGER NOT NULL DEFAULT 0,
        took_ms    INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL,
        tried_at   TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX deliveries_webhook ON deliveries (webhook_id, sequence);
"""

REPLICATION = """
    CREATE TABLE remotes (
        id         INTEGER PRIMARY KEY,
        name       TEXT NOT NULL UNIQUE,
        url        TEXT NOT NULL,
        username   TEXT NOT NULL,
        secret     TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE upstreams (
        project_id  INTEGER PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
        remote_id   INTEGER NOT NULL REFERENCES remotes (id),
        prefix      TEXT NOT NULL,
        check_s     INTEGER NOT NULL,
        limit_bytes INTEGER NOT NULL,
        keep_days   INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE replication_rules (
        id           INTEGER PRIMARY KEY,
        project_id   INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
        name         TEXT NOT NULL,
        direction    TEXT NOT NULL,
        remote_id    INTEGER NOT NULL REFERENCES remotes (id),
        prefix       TEXT NOT NULL,
        repositories TEXT NOT NULL,
        tags         TEXT NOT NULL,
        on_event     INTEGER NOT NULL,
        every_s      INTEGER NOT NULL,
        deletes      INTEGER NOT NULL,
        enabled      INTEGER NOT NULL,
        created_by   TEXT NOT NULL,
        created_at   TEXT NOT NULL,
        UNIQUE (project_id, name)
    ) STRICT;
    CREATE TABLE replication_runs (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        rule_id     INTEGER NOT NULL REFERENCES replication_rules (id) ON DELETE CASCADE,
        cause       TEXT NOT NULL,
        action      TEXT NOT NULL,
        repository  TEXT NOT NULL,
        reference   TEXT NOT NULL,
        digest      TEXT NOT NULL,
        dry_run     INTEGER NOT NULL,
        state       TEXT NOT NULL,
        attempts    INTEGER NOT NULL DEFAULT 0,
        error       TEXT NOT NULL DEFAULT '',
        created_at  TEXT NOT NULL,
        started_at  TEXT NOT NULL DEFAULT '',
        finished_at TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX replication_runs_rule ON replication_runs (rule_id, id);
    CREATE TABLE replication_items (
        sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id     INTEGER NOT NULL REFERENCES replication_runs (id) ON DELETE CASCADE,
        at         TEXT NOT NULL,
        repository TEXT NOT NULL,
        reference  TEXT NOT NULL,
        digest     TEXT NOT NULL,
        outcome    TEXT NOT NULL,
        bytes      INTEGER NOT NULL,
        error      TEXT NOT NULL
    ) STRICT;
    CREATE INDEX replication_items_run ON replication_items (run_id, sequence);
"""

SIGNING_IN = """
    CREATE TABLE identities (
        issuer     TEXT NOT NULL,
        subject    TEXT NOT NULL,
        user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        created_at TEXT NOT NULL,
        PRIMARY KEY (issuer, subject)
    ) STRICT;
    CREATE INDEX identities_user ON identities (user_id);
    CREATE TABLE used_attempts (
        state_hash TEXT PRIMARY KEY,
        expires_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE cli_secrets (
        id          INTEGER PRIMARY KEY,
        user_id     INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name        TEXT NOT NULL,
        secret_hash TEXT NOT NULL UNIQUE,
        created_at  TEXT NOT NULL,
        expires_at  TEXT NOT NULL,
        used_at     TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX cli_secrets_user ON cli_secrets (user_id);
"""

SESSIONS = """
    CREATE TABLE sessions (
        token_hash TEXT PRIMARY KEY,
        user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        generation INTEGER NOT NULL,
        address    TEXT NOT NULL,
        agent      TEXT NOT NULL,
        created_at TEXT NOT NULL,
        seen_at    TEXT NOT NULL,
        expires_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sessions_user ON sessions (user_id);
"""

MIGRATIONS: list[tuple[str, str]] = [
    ("foundation", FOUNDATION),
    ("scanning", SCANNING),
    ("policies", POLICIES),
    ("webhooks", WEBHOOKS),
    ("replication", REPLICATION),
    ("signing-in", SIGNING_IN),
    ("sessions", SESSIONS),
]
"""Name → statements. Add a feature's tables as a migration of its own, at the end."""


def tables(text: str) -> Iterator[str]:
    """The statements of a migration, one by one."""
    for statement in text.split(";\n"):
        if statement.strip():
            yield statement.strip().removesuffix(";")
