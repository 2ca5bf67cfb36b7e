"""Refusals that the distribution specification gives a code of its own. (distribution-spec, "Error Codes")"""

from onggi.errors import Conflict, InvalidParameter, NotAllowed, NotFound, OnggiError, TooLarge
from onggi.oci.digest import Digest


class RepositoryUnknown(NotFound):
    code = "NAME_UNKNOWN"

    def __init__(self, name: str) -> None:
        super().__init__(f"repository name not known to registry: {name}")


class BlobNotHere(NotFound):
    """The repository has no such blob, whatever another one has."""

    code = "BLOB_UNKNOWN"

    def __init__(self, digest: str) -> None:
        super().__init__(f"blob unknown to registry: {digest}")
        self.detail = {"digest": digest}


class ManifestUnknown(NotFound):
    code = "MANIFEST_UNKNOWN"

    def __init__(self, reference: str) -> None:
        super().__init__(f"manifest unknown: {reference}")
        self.detail = {"reference": reference}


class ReferencesUnknown(InvalidParameter):
    """A manifest names blobs or manifests that its repository does not have: push them first."""

    code = "MANIFEST_BLOB_UNKNOWN"

    def __init__(self, digests: list[Digest]) -> None:
        named = ", ".join(digests[:5]) + (" and others" if len(digests) > 5 else "")
        super().__init__(f"manifest references content that the repository does not have: {named}")
        self.detail = {"digests": [str(digest) for digest in digests[:100]]}


class UploadUnknown(NotFound):
    code = "BLOB_UPLOAD_UNKNOWN"

    def __init__(self) -> None:
        super().__init__(
            "blob upload unknown to registry: it was never begun, is finished, was given up or has expired"
        )


class RangeWrong(OnggiError):
    """A piece that does not begin where the upload ends."""

    code = "BLOB_UPLOAD_INVALID"

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload goes on at byte {offset}")
        self.headers = {"Range": f"0-{max(offset - 1, 0)}"}


class SizeWrong(InvalidParameter):
    code = "SIZE_INVALID"


class DigestWrong(InvalidParameter):
    """The bytes are not what they were called."""

    code = "DIGEST_INVALID"


class ManifestTooLarge(TooLarge):
    code = "MANIFEST_INVALID"


class TagImmutable(Conflict):
    """A rule of the project forbids to move or delete the tag."""

    code = "DENIED"

    def __init__(self, tag: str, rule: str) -> None:
        super().__init__(f"the tag {tag} is immutable by the project's rule {rule!a}: push under another tag")


class QuotaExceeded(OnggiError):
    code = "DENIED"

    def __init__(self, project: str, quota_bytes: int, used_bytes: int) -> None:
        super().__init__(
            f"the project {project} may hold {quota_bytes} bytes and holds {used_bytes}: delete images or raise its quota"
        )
        self.project = project


class MethodWrong(NotAllowed):
    code = "UNSUPPORTED"
