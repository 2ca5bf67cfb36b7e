"""For HEALTHCHECK: exit status 0 when the registry in this container answers /healthz, by TLS or without.

healthy.py [PORT]    the port that it listens on, 5000 if not given
"""

import http.client
import ssl
import sys

TIMEOUT_S = 5.0


def status(connection: http.client.HTTPConnection) -> int:
    """What /healthz answers. Raises OSError or HTTPException where nobody answers in HTTP."""
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def main(port: int) -> int:
    # Within the container nobody is between us and it; its certificate has the name by which others call it.
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    problems = []
    for connection in (
        http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S),
        http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=unverified),
    ):
        try:
            answer = status(connection)
        except (OSError, http.client.HTTPException) as error:
            problems.append(str(error))
            continue
        if answer == http.HTTPStatus.OK:
            return 0
        problems.append(f"/healthz answers {answer}")
    print("; ".join(problems), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
