"""Bodies of the network endpoints that are not Docker's own types of the engine."""

import msgspec

from onggi.engine.container_config import EndpointSettings


class ConnectRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """POST /networks/{id}/connect."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class DisconnectRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """POST /networks/{id}/disconnect."""

    container: str = ""
    force: bool = False
