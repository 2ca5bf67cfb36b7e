"""The rows of `context`."""
# ruff: noqa: E501  (a row is a line)

from onggi.cli.command import Command
from onggi.cli.table.formats import OBJECT_FORMAT, TABLE_FORMAT

COMMANDS = {
    "context create": Command(
        "context create",
        "[OPTIONS] CONTEXT",
        "Create a context",
        run="onggi.cli.commands.context:create",
        arguments=(1, 1),
        description='Create a context\n\nDocker endpoint config:\n\nNAME                DESCRIPTION\nfrom                Copy named context\'s Docker endpoint configuration\nhost                Docker endpoint on which to connect\nca                  Trust certs signed only by this CA\ncert                Path to TLS certificate file\nkey                 Path to TLS key file\nskip-tls-verify     Skip TLS certificate validation\n\nExample:\n\n$ onggi context create my-context --description "some description" --onggi "host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file"',
        options=(
            ("description", "", "string", "Description of the context"),
            ("docker", "", "stringToString", "set the onggi endpoint (default [])"),
            ("from", "", "string", "create context from a named context"),
        ),
    ),
    "context export": Command(
        "context export",
        "[OPTIONS] CONTEXT [FILE|-]",
        "Export a context to a tar archive FILE or a tar stream on STDOUT.",
        run="onggi.cli.commands.context:export",
        arguments=(1, 2),
    ),
    "context import": Command(
        "context import",
        "CONTEXT FILE|-",
        "Import a context from a tar or zip file",
        run="onggi.cli.commands.context:import_",
        arguments=(2, 2),
    ),
    "context inspect": Command(
        "context inspect",
        "[OPTIONS] [CONTEXT] [CONTEXT...]",
        "Display detailed information on one or more contexts",
        run="onggi.cli.commands.context:inspect",
        arguments=(0, None),
        options=(("format", "f", "string", OBJECT_FORMAT),),
    ),
    "context ls": Command(
        "context ls",
        "[OPTIONS]",
        "List contexts",
        run="onggi.cli.commands.context:ls",
        arguments=(0, 0),
        aliases=("context ls", "context list"),
        options=(
            ("format", "", "string", TABLE_FORMAT),
            ("quiet", "q", "bool", "Only show context names"),
        ),
    ),
    "context rm": Command(
        "context rm",
        "CONTEXT [CONTEXT...]",
        "Remove one or more contexts",
        run="onggi.cli.commands.context:rm",
        arguments=(1, None),
        aliases=("context rm", "context remove"),
        options=(("force", "f", "bool", "Force the removal of a context in use"),),
    ),
    "context show": Command(
        "context show",
        "",
        "Print the name of the current context",
        run="onggi.cli.commands.context:show",
        arguments=(0, 0),
    ),
    "context update": Command(
        "context update",
        "[OPTIONS] CONTEXT",
        "Update a context",
        run="onggi.cli.commands.context:update",
        arguments=(1, 1),
        description='Update a context\n\nDocker endpoint config:\n\nNAME                DESCRIPTION\nfrom                Copy named context\'s Docker endpoint configuration\nhost                Docker endpoint on which to connect\nca                  Trust certs signed only by this CA\ncert                Path to TLS certificate file\nkey                 Path to TLS key file\nskip-tls-verify     Skip TLS certificate validation\n\nExample:\n\n$ onggi context update my-context --description "some description" --onggi "host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file"',
        options=(
            ("description", "", "string", "Description of the context"),
            ("docker", "", "stringToString", "set the onggi endpoint (default [])"),
        ),
    ),
    "context use": Command(
        "context use",
        "CONTEXT",
        "Set the current onggi context",
        run="onggi.cli.commands.context:use",
        arguments=(1, 1),
    ),
}
