"""Logging drivers: which there are, which options they take, and what the runtime is told of them.

    drivers ─┬─ files                             json-file, local: written by the shim
             └─ syslog, gelf, fluentd, journald   sent by a carrier, beside a copy in files that `logs` reads
    subject     what they say of a container: its tag, chosen labels and environment

Sentences are those of Docker 28.5.2: options that only make no sense are refused when a container is made (`check`),
values of files' options when it starts (`compile`), as Docker does.
"""
