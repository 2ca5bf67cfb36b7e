"""`python -m onggi.daemon`: the engine in the foreground."""

import sys

from onggi.daemon.main import main

sys.exit(main(sys.argv[1:]))
