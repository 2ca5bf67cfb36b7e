"""The rows of `exec`."""

from onggi.cli.command import Command

COMMANDS = {
    "container exec": Command(
        "container exec",
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        "Execute a command in a running container",
        run="onggi.cli.commands.exec:execute",
        arguments=(2, None),
        aliases=("container exec", "exec"),
        interspersed=False,
        options=(
            ("detach", "d", "bool", "Detached mode: run command in the background"),
            ("detach-keys", "", "string", "Override the key sequence for detaching a container"),
            ("env", "e", "list:env", "Set environment variables"),
            ("env-file", "", "list", "Read in a file of environment variables"),
            ("interactive", "i", "bool", "Keep STDIN open even if not attached"),
            ("privileged", "", "bool", "Give extended privileges to the command"),
            ("tty", "t", "bool", "Allocate a pseudo-TTY"),
            ("user", "u", "string", 'Username or UID (format: "<name|uid>[:<group|gid>]")'),
            ("workdir", "w", "string", "Working directory inside the container"),
        ),
        own=(
            (
                "end-with-client",
                "",
                "bool",
                "End the command when this client ends, unless it detached: by SIGHUP, 10 seconds later by SIGKILL",
            ),
        ),
    ),
}
