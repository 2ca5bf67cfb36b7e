"""Snapshots: what a container's root file system is stacked of, and where it writes."""

from onggi.images.image import Image
from onggi.oci.root import OverlayRoot


class Snapshots:
    """One writable directory for each container, above the layers of its image."""

    async def prepare(self, container_id: str, image: Image | None) -> OverlayRoot:
        """Make the container's own directories. None: a container without image (from scratch)."""
        raise NotImplementedError

    def root(self, container_id: str) -> OverlayRoot:
        """What `prepare` gave. Raises NotFound."""
        raise NotImplementedError

    async def remove(self, container_id: str) -> None:
        """Forget the container's directories; they are deleted in the background. Idempotent."""
        raise NotImplementedError

    async def written_bytes(self, container_id: str) -> int:
        """What the files that the container wrote take (`SizeRw`)."""
        raise NotImplementedError
