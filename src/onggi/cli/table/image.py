"""The rows of `image`, and the top-level commands that mean the same."""
# ruff: noqa: E501  (a row is a line)

from onggi.cli.command import Command
from onggi.cli.table.formats import OBJECT_FORMAT, TABLE_FORMAT

COMMANDS = {
    "image history": Command(
        "image history",
        "[OPTIONS] IMAGE",
        "Show the history of an image",
        run="onggi.cli.commands.history:history",
        arguments=(1, 1),
        aliases=("image history", "history"),
        options=(
            ("format", "", "string", TABLE_FORMAT),
            ("human", "H", "bool", "Print sizes and dates in human readable format (default true)"),
            ("no-trunc", "", "bool", "Don't truncate output"),
            (
                "platform",
                "",
                "string",
                'Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
            ),
            ("quiet", "q", "bool", "Only show image IDs"),
        ),
    ),
    "image import": Command(
        "image import",
        "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
        run="onggi.cli.commands.load:import_image",
        arguments=(1, None),
        aliases=("image import", "import"),
        options=(
            ("change", "c", "list", "Apply Dockerfile instruction to the created image"),
            ("message", "m", "string", "Set commit message for imported image"),
            ("platform", "", "string", "Set platform if server is multi-platform capable"),
        ),
    ),
    "image inspect": Command(
        "image inspect",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
        run="onggi.cli.commands.inspect:image",
        arguments=(1, None),
        options=(
            ("format", "f", "string", OBJECT_FORMAT),
            (
                "platform",
                "",
                "string",
                "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
            ),
        ),
    ),
    "image load": Command(
        "image load",
        "[OPTIONS]",
        "Load an image from a tar archive or STDIN",
        run="onggi.cli.commands.load:load",
        arguments=(0, 0),
        aliases=("image load", "load"),
        options=(
            ("input", "i", "string", "Read from tar archive file, instead of STDIN"),
            (
                "platform",
                "",
                "string",
                'Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
            ),
            ("quiet", "q", "bool", "Suppress the load output"),
        ),
    ),
    "image ls": Command(
        "image ls",
        "[OPTIONS] [REPOSITORY[:TAG]]",
        "List images",
        run="onggi.cli.commands.images:images",
        arguments=(0, 1),
        aliases=("image ls", "image list", "images"),
        options=(
            ("all", "a", "bool", "Show all images (default hides intermediate images)"),
            ("digests", "", "bool", "Show digests"),
            ("filter", "f", "filter", "Filter output based on conditions provided"),
            ("format", "", "string", TABLE_FORMAT),
            ("no-trunc", "", "bool", "Don't truncate output"),
            ("quiet", "q", "bool", "Only show image IDs"),
            ("tree", "", "bool", "List multi-platform images as a tree (EXPERIMENTAL)"),
        ),
    ),
    "image prune": Command(
        "image prune",
        "[OPTIONS]",
        "Remove unused images",
        run="onggi.cli.commands.prune:image",
        arguments=(0, 0),
        options=(
            ("all", "a", "bool", "Remove all unused images, not just dangling ones"),
            ("filter", "", "filter", 'Provide filter values (e.g. "until=<timestamp>")'),
            ("force", "f", "bool", "Do not prompt for confirmation"),
        ),
    ),
    "image pull": Command(
        "image pull",
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        run="onggi.cli.commands.pull:pull",
        arguments=(1, 1),
        aliases=("image pull", "pull"),
        options=(
            ("all-tags", "a", "bool", "Download all tagged images in the repository"),
            ("disable-content-trust", "", "bool", "Skip image verification (default true)"),
            ("platform", "", "string", "Set platform if server is multi-platform capable"),
            ("quiet", "q", "bool", "Suppress verbose output"),
        ),
    ),
    "image push": Command(
        "image push",
        "[OPTIONS] NAME[:TAG]",
        "Upload an image to a registry",
        run="onggi.cli.commands.pull:push",
        arguments=(1, 1),
        aliases=("image push", "push"),
        options=(
            ("all-tags", "a", "bool", "Push all tags of an image to the repository"),
            ("disable-content-trust", "", "bool", "Skip image signing (default true)"),
            (
                "platform",
                "",
                "string",
                "Push a platform-specific manifest as a single-platform image to the registry.\nImage index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
            ),
            ("quiet", "q", "bool", "Suppress verbose output"),
        ),
    ),
    "image rm": Command(
        "image rm",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Remove one or more images",
        run="onggi.cli.commands.image:rm",
        arguments=(1, None),
        aliases=("image rm", "image remove", "rmi"),
        options=(
            ("force", "f", "bool", "Force removal of the image"),
            ("no-prune", "", "bool", "Do not delete untagged parents"),
            (
                "platform",
                "",
                "strings",
                'Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
            ),
        ),
    ),
    "image save": Command(
        "image save",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        run="onggi.cli.commands.load:save",
        arguments=(1, None),
        aliases=("image save", "save"),
        options=(
            ("output", "o", "string", "Write to a file, instead of STDOUT"),
            (
                "platform",
                "",
                "string",
                'Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
            ),
        ),
    ),
    "image tag": Command(
        "image tag",
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        run="onggi.cli.commands.image:tag",
        arguments=(2, 2),
        aliases=("image tag", "tag"),
    ),
    "image verify": Command(
        "image verify",
        "[OPTIONS] [IMAGE...]",
        "Compare images on the disk with their digests",
        run="onggi.cli.commands.verify:verify",
        arguments=(0, None),
        description=(
            "Compare images on the disk with their digests: each blob, and each unpacked layer.\n"
            "Verifies all images if none is named. Exits with 1 while anything is damaged."
        ),
        options=(("repair", "", "bool", "Fetch damaged blobs again, and unpack damaged layers again"),),
    ),
}
