"""The rows of `trust`."""

from onggi.cli.command import Command

COMMANDS = {
    "trust generate": Command(
        "trust generate",
        "[OPTIONS] NAME",
        "Make a key to sign images with",
        run="onggi.cli.commands.trust:generate",
        arguments=(1, 1),
        description=(
            "Make a key to sign images with: NAME.key, locked by a passphrase, and NAME.pub for those who verify.\n"
            "The passphrase is asked for, or comes by ONGGI_TRUST_PASSPHRASE."
        ),
        options=(("dir", "", "string", "Directory for the two files (default: this one)"),),
    ),
    "trust sign": Command(
        "trust sign",
        "[OPTIONS] IMAGE[:TAG]",
        "Sign an image at its registry",
        run="onggi.cli.commands.trust:sign",
        arguments=(1, 1),
        options=(
            ("form", "", "string", "Form of the signature (bundle, simple, both) (default both)"),
            ("key", "", "string", "Private key, of `trust generate` or of cosign"),
        ),
    ),
    "trust verify": Command(
        "trust verify",
        "[OPTIONS] IMAGE[:TAG]",
        "Verify that an image at its registry is signed",
        run="onggi.cli.commands.trust:verify",
        arguments=(1, 1),
        description="Verify that an image at its registry is signed by one of the keys. Exits with 1 when it is not.",
        options=(("key", "", "list", "Public key or certificates that may have signed it"),),
    ),
}
