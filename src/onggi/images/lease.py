"""Leases: what a running pull, load, import or commit keeps from being collected before an image holds it."""

from onggi.oci.digest import Digest


class Lease:
    """Held from `async with images.lease() as lease` to its end; a lease of a killed engine ends at the next start."""

    async def hold_layer(self, diff_id: Digest) -> bool:
        """Keep the extracted layer; True when it is there. Ask again after one's own unpacking, never before."""
        raise NotImplementedError

    async def hold_blob(self, digest: Digest) -> bool:
        """Keep the blob; True when it is there. Call before looking or writing: a removal that runs spares it then."""
        raise NotImplementedError
