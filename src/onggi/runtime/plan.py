"""Compile config.json into ordered steps. Pure: no I/O (runtime-spec: config.md, config-linux.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onggi.oci.root import DirectoryRoot, OverlayRoot
from onggi.oci.spec import Process, Spec
from onggi.runtime.host import Host


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one start, in order."""

    steps: Sequence[Any]

    def data(self) -> list[Any]:
        """As JSON-able lists, for `init.spawn` or `join.spawn` in another process."""
        raise NotImplementedError

    def describe(self) -> str:
        """One line per step, for people and tests."""
        raise NotImplementedError


def plan(spec: Spec, host: Host, root: OverlayRoot | DirectoryRoot, *, network: bool = False) -> Plan:
    """The plan that starts a container's init.

    `network`: the caller of `init.spawn` passes a network namespace as file `network`; it takes the place of the
    spec's. `spec.linux.cgroups_path` is absolute below each hierarchy: `/onggi/<id>`. Standard streams are passed as
    files unless `spec.process.terminal`. Raises InvalidParameter or Unsupported for what cannot be carried out.
    """
    raise NotImplementedError


def plan_exec(process: Process, spec: Spec, host: Host) -> Plan:
    """The plan that runs `process` in the running container of `spec`; for `join.spawn`."""
    raise NotImplementedError
