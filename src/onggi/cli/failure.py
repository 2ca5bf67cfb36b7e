"""How a command ends badly: a sentence for stderr and an exit status."""

PROGRAM = "onggi"


class Failure(Exception):
    """A command that fails. `str()` goes to stderr as it stands; `status` is the process's exit status."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class UsageError(Failure):
    """A flag that does not exist or makes no sense. The usage line follows; the status is 125, as with Docker."""

    def __init__(self, text: str) -> None:
        super().__init__(text, 125)


class ResponseError(Failure):
    """What the engine answered instead of a result. `code` is the HTTP status, `message` its sentence."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.code = code
        self.message = message


class CannotConnect(Failure):
    """No engine answers at the address."""

    def __init__(self, address: str, reason: str = "") -> None:
        why = f": {reason}" if reason else ""
        super().__init__(f"Cannot connect to the Onggi daemon at {address}{why}. Is the {PROGRAM} daemon running?")
