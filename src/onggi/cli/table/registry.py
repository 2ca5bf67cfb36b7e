"""The rows of `login`, `logout`, `search`."""

from onggi.cli.command import Command

COMMANDS = {
    "login": Command(
        "login",
        "[OPTIONS] [SERVER]",
        "Authenticate to a registry",
        run="onggi.cli.commands.login:login",
        arguments=(0, 1),
        description="Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
        options=(
            ("password", "p", "string", "Password or Personal Access Token (PAT)"),
            ("password-stdin", "", "bool", "Take the Password or Personal Access Token (PAT) from stdin"),
            ("username", "u", "string", "Username"),
        ),
    ),
    "logout": Command(
        "logout",
        "[SERVER]",
        "Log out from a registry",
        run="onggi.cli.commands.login:logout",
        arguments=(0, 1),
        description="Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
    ),
    "search": Command(
        "search",
        "[OPTIONS] TERM",
        "Search Docker Hub for images",
        run="onggi.cli.commands.search:search",
        arguments=(1, 1),
        options=(
            ("filter", "f", "filter", "Filter output based on conditions provided"),
            ("format", "", "string", "Pretty-print search using a Go template"),
            ("limit", "", "int", "Max number of search results"),
            ("no-trunc", "", "bool", "Don't truncate output"),
        ),
    ),
}
