"""Run a module of this package by path: `python -I entry.py onggi.daemon …`, wherever the package lies.

With -I Python looks neither at the caller's environment nor in the current directory (CVE-2025-15558's class).
"""

import os
import sys


def main() -> None:
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, package)
    module = sys.argv[1]
    sys.argv[:2] = [module]
    import runpy

    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
