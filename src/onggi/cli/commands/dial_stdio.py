"""`system dial-stdio`: standard input and output as a connection to the engine, for ssh:// addresses."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def dial_stdio(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli.streams import Session

    session = Session(invocation.client.connect(), stdin=True, output=True, tty=True, keys=b"")
    session.carry()
    return 0
