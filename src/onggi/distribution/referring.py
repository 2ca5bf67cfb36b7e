"""A manifest is pushed that names another one as its subject: where the registry keeps no list of such, a tag does.

(distribution-spec, "Pushing Manifests with Subject", "Referrers Tag Schema")
"""

import msgspec

from onggi.distribution.failure import AnswerNotFound
from onggi.distribution.repository import Repository, parsed_index, referrers_tag
from onggi.oci.descriptor import OCI_INDEX, Descriptor, encode_document
from onggi.oci.digest import Digest
from onggi.oci.manifest import Index


async def put(target: Repository, reference: str, content: bytes, entry: Descriptor, subject: Digest) -> None:
    """Push `content`, whose descriptor is `entry`, by tag or digest. Raises Answer, Unreachable, Misbehaved."""
    if not await target.put_manifest(reference, content, entry.media_type):
        await _list(target, subject, entry)


async def _list(target: Repository, subject: Digest, entry: Descriptor) -> None:
    tag = referrers_tag(subject)
    try:
        index = parsed_index(await target.manifest(tag))
    except AnswerNotFound:
        index = Index(schema_version=2, media_type=OCI_INDEX, manifests=[])
    if any(known.digest == entry.digest for known in index.manifests):
        return
    longer = msgspec.structs.replace(index, manifests=[*index.manifests, entry])
    await target.put_manifest(tag, encode_document(longer), OCI_INDEX)
