"""The rows of `volume`."""

from onggi.cli.command import Command
from onggi.cli.table.formats import OBJECT_FORMAT, TABLE_FORMAT

COMMANDS = {
    "volume create": Command(
        "volume create",
        "[OPTIONS] [VOLUME]",
        "Create a volume",
        run="onggi.cli.commands.volume:create",
        arguments=(0, 1),
        options=(
            (
                "availability",
                "",
                "string",
                'Cluster Volume availability ("active", "pause", "drain") (default "active")',
            ),
            ("driver", "d", "string", 'Specify volume driver name (default "local")'),
            ("group", "", "string", "Cluster Volume group (cluster volumes)"),
            ("label", "", "list:label", "Set metadata for a volume"),
            ("limit-bytes", "", "bytes", "Minimum size of the Cluster Volume in bytes"),
            ("opt", "o", "map", "Set driver specific options (default map[])"),
            ("required-bytes", "", "bytes", "Maximum size of the Cluster Volume in bytes"),
            ("scope", "", "string", 'Cluster Volume access scope ("single", "multi") (default "single")'),
            ("secret", "", "map", "Cluster Volume secrets (default map[])"),
            (
                "sharing",
                "",
                "string",
                'Cluster Volume access sharing ("none", "readonly", "onewriter", "all") (default "none")',
            ),
            ("topology-preferred", "", "list", "A topology that the Cluster Volume would be preferred in"),
            ("topology-required", "", "list", "A topology that the Cluster Volume must be accessible from"),
            ("type", "", "string", 'Cluster Volume access type ("mount", "block") (default "block")'),
        ),
    ),
    "volume inspect": Command(
        "volume inspect",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Display detailed information on one or more volumes",
        run="onggi.cli.commands.inspect:volume",
        arguments=(1, None),
        options=(("format", "f", "string", OBJECT_FORMAT),),
    ),
    "volume ls": Command(
        "volume ls",
        "[OPTIONS]",
        "List volumes",
        run="onggi.cli.commands.volume:ls",
        arguments=(0, 0),
        aliases=("volume ls", "volume list"),
        options=(
            ("cluster", "", "bool", "Display only cluster volumes, and use cluster volume list formatting"),
            ("filter", "f", "filter", 'Provide filter values (e.g. "dangling=true")'),
            ("format", "", "string", TABLE_FORMAT),
            ("quiet", "q", "bool", "Only display volume names"),
        ),
    ),
    "volume prune": Command(
        "volume prune",
        "[OPTIONS]",
        "Remove unused local volumes",
        run="onggi.cli.commands.prune:volume",
        arguments=(0, 0),
        options=(
            ("all", "a", "bool", "Remove all unused volumes, not just anonymous ones"),
            ("filter", "", "filter", 'Provide filter values (e.g. "label=<label>")'),
            ("force", "f", "bool", "Do not prompt for confirmation"),
        ),
    ),
    "volume rm": Command(
        "volume rm",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Remove one or more volumes",
        run="onggi.cli.commands.volume:rm",
        arguments=(1, None),
        description="Remove one or more volumes. You cannot remove a volume that is in use by a container.",
        aliases=("volume rm", "volume remove"),
        options=(("force", "f", "bool", "Force the removal of one or more volumes"),),
    ),
    "volume update": Command(
        "volume update",
        "[OPTIONS] [VOLUME]",
        "Update a volume (cluster volumes only)",
        run="onggi.cli.commands.volume:update",
        arguments=(1, 1),
        options=(
            (
                "availability",
                "",
                "string",
                'Cluster Volume availability ("active", "pause", "drain") (default "active")',
            ),
        ),
    ),
}
