"""`update`: limits and restart policy of existing containers; environment, labels, ports and mounts as well."""

import sys

from onggi.cli.commands.lifecycle import each
from onggi.cli.creation.request import restart_policy
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

_LIMITS = (
    ("blkio-weight", "BlkioWeight", 0), ("cpu-shares", "CpuShares", 0), ("memory", "Memory", 0),
    ("memory-reservation", "MemoryReservation", 0), ("memory-swap", "MemorySwap", 0),
    ("cpu-period", "CpuPeriod", 0), ("cpu-quota", "CpuQuota", 0), ("cpuset-cpus", "CpusetCpus", ""),
    ("cpuset-mems", "CpusetMems", ""), ("cpu-rt-period", "CpuRealtimePeriod", 0),
    ("cpu-rt-runtime", "CpuRealtimeRuntime", 0), ("cpus", "NanoCpus", 0), ("pids-limit", "PidsLimit", 0),
)  # fmt: skip


_CHANGES = (
    ("env-add", "Env"), ("env-rm", "EnvRemove"), ("label-rm", "LabelsRemove"), ("mount-add", "Mounts"),
    ("mount-rm", "MountsRemove"), ("publish-rm", "PortsRemove"), ("volume-add", "Binds"),
)  # fmt: skip


def _changes(found: "Arguments") -> "dict[str, Any]":
    """What only Onggi changes of a container that exists."""
    changes: dict[str, Any] = {key: found.values[option] for option, key in _CHANGES if found.given(option)}
    if found.given("label-add"):
        from onggi.cli.creation.request import pairs

        changes["Labels"] = pairs(found.texts("label-add"))
    if found.given("publish-add"):
        from onggi.cli.creation import ports

        host: dict[str, Any] = {}
        ports.publish(found.texts("publish-add"), {}, host)
        changes["PortBindings"] = host["PortBindings"]
    return changes


def update(invocation: "Invocation", found: "Arguments") -> int:
    if not found.values:
        raise Failure("you must provide one or more flags when using this command")
    body: dict[str, Any] = {key: found.values.get(option, empty) for option, key, empty in _LIMITS}
    body["RestartPolicy"] = restart_policy(found.text("restart"))
    changes = _changes(found)
    if changes:
        body["Changes"] = changes
    warnings: list[str] = []

    def one(name: str) -> str:
        answer = invocation.client.post(f"/containers/{name}/update", body=body) or {}
        warnings.extend(answer.get("Warnings") or ())
        return name

    try:
        return each(found.words, one)
    finally:
        if warnings:
            sys.stdout.write("\n".join(warnings) + "\n")
