"""How a worker gives up everything but its directory, before it reads bytes that may be hostile.

Afterwards its root is that directory and holds nothing else; it has no network, no descriptors but those named, no
capability but what making files needs, and can gain none; system calls that such work does not need are refused.
Nothing can be imported any more: Python would look for it by path, in the foreign directory, and run it. Part of the
worker's half.
"""

import os
import resource
import sys

from onggi.images.filter import program
from onggi.linux.capability import last, limit_bounding, mask, set_capabilities
from onggi.linux.mount import MS_PRIVATE, move_mount, open_tree, pivot_root, set_attributes
from onggi.linux.process import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    close_from,
    join_session_keyring,
    prctl,
    unshare,
)
from onggi.linux.seccomp import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

WRITER = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")
"""What it takes to make any file with any owner and mode."""
READER = ("CAP_DAC_READ_SEARCH",)
"""What it takes to read any file."""
MEMORY_LIMIT_BYTES = 1 << 30
_SIGKILL = 9


def confine(directory: int, keep: "Iterable[int]", capabilities: "Iterable[str]", parent: int,
            *, descriptors: int = 64) -> None:  # fmt: skip
    """Make `directory` the root of this process, closing all descriptors but `keep`. The process has one thread.

    `parent` is the pid that started it: with it this process dies. Raises OSError when a step fails: the caller ends.
    """
    calls = program(os.uname().machine)
    prctl(PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    join_session_keyring()
    os.fchdir(directory)  # unshare takes the working directory along into the new namespace, but no descriptor
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
    everything = os.open("/", os.O_PATH | os.O_DIRECTORY)
    set_attributes(everything, propagation=MS_PRIVATE, recursive=True)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY)
    with open_tree(here) as tree:
        move_mount(tree, here)
        highest = last()  # from /proc, while that is there
        pivot_root(tree)
    restrict(keep, capabilities, highest, descriptors=descriptors)
    load(calls, 0)


def restrict(keep: "Iterable[int]", capabilities: "Iterable[str]", highest: int, *, descriptors: int = 64) -> None:
    """The second half, for a process that has its root already: no descriptors but `keep`, no capabilities but those
    named, limits, no further imports. `highest` is `capability.last()`, asked while /proc was the host's.
    """
    at = 0
    for number in sorted(keep):
        close_from(at, number - 1)
        at = number + 1
    close_from(at)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, descriptors),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    kept = mask(capabilities)
    limit_bounding(kept, highest)
    set_capabilities(kept, kept, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)
    seal_imports()


def seal_imports() -> None:
    """From now on what is not loaded can't be: no module is looked up in any directory."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.excepthook = lambda *_: os._exit(1)  # a traceback would read source files by path
