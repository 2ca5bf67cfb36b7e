"""`python -m onggi.registry`, which `onggi registry` executes."""

import sys

from onggi.registry.main import main

sys.exit(main(sys.argv[1:]))
