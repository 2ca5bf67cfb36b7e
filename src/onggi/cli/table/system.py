"""The rows of `system`, `version`, `inspect`."""

from onggi.cli.command import Command
from onggi.cli.table.formats import OBJECT_FORMAT, TABLE_FORMAT

COMMANDS = {
    "auto-update": Command(
        "auto-update",
        "[OPTIONS]",
        "Replace containers that ask for it when their images' tags have moved",
        run="onggi.cli.commands.auto_update:auto_update",
        arguments=(0, 0),
        description=(
            "Replace the containers with the label io.onggi.auto-update=true (or io.containers.autoupdate=registry) whose\n"
            "images' tags have moved. What does not come up well is rolled back. Exits with 1 when one was."
        ),
        options=(
            ("dry-run", "", "bool", "Only say which would be replaced"),
            ("format", "", "string", TABLE_FORMAT),
        ),
    ),
    "system df": Command(
        "system df",
        "[OPTIONS]",
        "Show docker disk usage",
        run="onggi.cli.commands.df:df",
        arguments=(0, 0),
        options=(
            ("format", "", "string", TABLE_FORMAT),
            ("verbose", "v", "bool", "Show detailed information on space usage"),
        ),
    ),
    "system dial-stdio": Command(
        "system dial-stdio",
        "",
        "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
        run="onggi.cli.commands.dial_stdio:dial_stdio",
        arguments=(0, 0),
    ),
    "system events": Command(
        "system events",
        "[OPTIONS]",
        "Get real time events from the server",
        run="onggi.cli.commands.events:events",
        arguments=(0, 0),
        aliases=("system events", "events"),
        options=(
            ("filter", "f", "filter", "Filter output based on conditions provided"),
            ("format", "", "string", OBJECT_FORMAT),
            ("since", "", "string", "Show all events created since timestamp"),
            ("until", "", "string", "Stream events until this timestamp"),
        ),
    ),
    "system info": Command(
        "system info",
        "[OPTIONS]",
        "Display system-wide information",
        run="onggi.cli.commands.info:info",
        arguments=(0, 0),
        aliases=("system info", "info"),
        options=(("format", "f", "string", OBJECT_FORMAT),),
    ),
    "system prune": Command(
        "system prune",
        "[OPTIONS]",
        "Remove unused data",
        run="onggi.cli.commands.prune:system",
        arguments=(0, 0),
        options=(
            ("all", "a", "bool", "Remove all unused images not just dangling ones"),
            ("filter", "", "filter", 'Provide filter values (e.g. "label=<key>=<value>")'),
            ("force", "f", "bool", "Do not prompt for confirmation"),
            ("volumes", "", "bool", "Prune anonymous volumes"),
        ),
    ),
    "version": Command(
        "version",
        "[OPTIONS]",
        "Show the Docker version information",
        run="onggi.cli.commands.version:version",
        arguments=(0, 0),
        options=(("format", "f", "string", OBJECT_FORMAT),),
    ),
    "inspect": Command(
        "inspect",
        "[OPTIONS] NAME|ID [NAME|ID...]",
        "Return low-level information on Docker objects",
        run="onggi.cli.commands.inspect:inspect",
        arguments=(1, None),
        options=(
            ("format", "f", "string", OBJECT_FORMAT),
            ("size", "s", "bool", "Display total file sizes if the type is container"),
            ("type", "", "string", "Only inspect objects of the given type"),
        ),
    ),
}
