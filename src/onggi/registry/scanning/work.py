"""The jobs: scan an image that was pushed; hold every inventory against advisories that have changed."""

import asyncio
import os
from contextlib import ExitStack
from datetime import timedelta

from onggi.oci.descriptor import FOREIGN_LAYERS, IMAGE_CONFIGS, LAYERS
from onggi.oci.digest import Digest
from onggi.oci.manifest import Manifest, parse_manifest
from onggi.registry import blobs, jobs, manifests, repositories
from onggi.registry.blobs import Blob
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.jobs import Handler, Job
from onggi.registry.refusals import BlobNotHere, ManifestUnknown
from onggi.registry.scanning import scans
from onggi.registry.scanning.scans import ScanState
from onggi.registry.service import Service
from onggi.scan.inventory import Inventory
from onggi.scan.matching import Finding
from onggi.scan.reading import Unreadable, read_inventory

SCAN = "scan"
REMATCH = "rematch"
SCANNER = "scanner"
"""Who publishes the events."""
EMPTY = "empty"
"""A directory below the root without anything in it: where the scan's workers live."""


def ask(connection: Connection, repository: str, digest: str) -> None:
    """Have the image scanned soon."""
    jobs.enqueue(connection, SCAN, {"repository": repository, "digest": digest}, subject=f"{repository}@{digest}")


def layers_of(connection: Connection, repository: str, digest: str) -> list[Blob] | None:
    """The image's layers, lowest first; None for what is no image. Raises ManifestUnknown, BlobNotHere."""
    stored = manifests.find(connection, repository, digest)
    parsed = parse_manifest(stored.content, stored.media_type)
    if not isinstance(parsed, Manifest) or parsed.config.media_type not in IMAGE_CONFIGS:
        return None
    if any(layer.media_type not in LAYERS for layer in parsed.layers):
        return None  # an attestation: its configuration says "image", its layers are statements
    found = []
    for layer in parsed.layers:
        try:
            found.append(blobs.find(connection, repository, layer.digest))
        except BlobNotHere:
            # Where its URL leads is not asked. But a client takes from here what is here, whatever it is called.
            if layer.media_type not in FOREIGN_LAYERS:
                raise
    return found


class Scanner:
    """Runs the jobs of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def scan(self, job: Job) -> None:
        repository, digest = str(job.payload["repository"]), Digest(str(job.payload["digest"]))
        try:
            layers = await self._service.read(lambda connection: layers_of(connection, repository, digest))
        except (ManifestUnknown, BlobNotHere):
            return  # deleted meanwhile
        if layers is None:
            await self._note(repository, digest, ScanState.NONE, Inventory())
            return
        try:
            inventory = await self._read(layers)
        except Unreadable as error:
            await self._note(repository, digest, ScanState.FAILED, Inventory(), str(error))
            return
        await self._note(repository, digest, ScanState.DONE, inventory)

    async def _read(self, layers: list[Blob]) -> Inventory:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            descriptors = []
            for blob in layers:
                file = await loop.run_in_executor(self._service.pool, self._service.objects.open, blob.key)
                descriptors.append(stack.enter_context(file).fileno())
            for descriptor in descriptors:
                os.lseek(descriptor, 0, os.SEEK_SET)
            empty = self._service.settings.root / EMPTY
            empty.mkdir(mode=0o700, exist_ok=True)
            return await read_inventory(descriptors, empty)

    async def _note(
        self, repository: str, digest: Digest, state: ScanState, inventory: Inventory, error: str = ""
    ) -> None:
        findings = await self._service.database.scan(lambda connection: scans.findings_of(connection, inventory))

        def put(connection: Connection) -> None:
            repository_id = repositories.find(connection, repository)["id"]
            scans.put(connection, repository_id, digest, state, inventory, findings, error)
            if state is not ScanState.NONE:
                self._publish(connection, repository, digest, state, findings, error)

        await self._service.write(put)

    def _publish(
        self,
        connection: Connection,
        repository: str,
        digest: str,
        state: ScanState,
        findings: list[Finding],
        error: str,
    ) -> None:
        details = {"state": state.value, "counts": scans.counts(findings)} | ({"error": error} if error else {})
        self._service.events.publish(
            connection, Event(EventKind.SCAN, repository, SCANNER, digest=digest, details=details)
        )

    async def rematch(self, _: Job) -> None:
        """Hold every inventory against the advisories anew; what has changed is told as a scan is."""
        for row in await self._service.database.scan(scans.all_done):
            await self._rematch_one(row["repository_id"], row["name"], row["digest"])

    async def _rematch_one(self, repository_id: int, repository: str, digest: str) -> None:
        def look(connection: Connection) -> tuple[scans.Scan, list[Finding]] | None:
            try:
                scan = scans.find(connection, repository_id, digest)
            except scans.NotScanned:
                return None  # deleted meanwhile
            return scan, scans.findings_of(connection, scan.inventory)

        found = await self._service.database.scan(look)
        if found is None or found[0].findings == found[1]:
            return
        scan, findings = found

        def put(connection: Connection) -> None:
            scans.put(connection, repository_id, digest, scan.state, scan.inventory, findings)
            self._publish(connection, repository, digest, scan.state, findings, "")

        await self._service.write(put)


def install(service: Service) -> None:
    scanner = Scanner(service)
    service.job_handlers[SCAN] = Handler(scanner.scan, attempts=4, lease=timedelta(minutes=20))
    service.job_handlers[REMATCH] = Handler(scanner.rematch, attempts=4, lease=timedelta(hours=2))

    def on_event(connection: Connection, event: Event) -> None:
        if event.kind is EventKind.PUSH and event.digest:
            ask(connection, event.repository, event.digest)

    service.events.subscribe(on_event)
