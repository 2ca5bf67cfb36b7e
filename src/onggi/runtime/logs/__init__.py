"""What the shim does with a container's output.

    stdio ── ContainerLog ─┬─ json_file, local_file ── rotation ── compression      files, read by `engine.logs`
                           └─ channel ══════ carrier ── journald, syslog, gelf, fluentd    a process of its own

Loaded by the launcher: this package's `container_log`, `json_file` and `rotation`. The others cost memory only where a
container asks for them.
"""
