"""A copy of Python that nobody can write, for every process of ours that enters a container (memfd_create(2))."""

import errno
import fcntl
import os
import sys

from onggi.errors import System
from onggi.linux.fd import Fd

_MFD_EXEC = 0x10
_SEALS = 1 | 2 | 4 | 8  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034


def sealed_interpreter() -> Fd:
    """A copy of Python in memory that nobody can write, executable. A container sees its init's program by
    /proc/PID/exe; through this it reaches no file of the host (CVE-2019-5736).

    Raises System where the kernel forbids such files (vm.memfd_noexec=2): never a start without the copy.
    """
    source = os.path.realpath(sys.executable)
    try:
        try:
            copy = Fd(os.memfd_create("onggi", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            copy = Fd(os.memfd_create("onggi", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))  # before Linux 6.3
    except OSError as error:
        raise System(f"no executable file in memory can be made (sysctl vm.memfd_noexec?): {error.strerror}") from error
    try:
        with open(source, "rb", buffering=0) as program:
            size = os.fstat(program.fileno()).st_size
            position = 0
            while position < size:
                position += os.sendfile(copy.fileno(), program.fileno(), position, size - position)
        os.fchmod(copy.fileno(), 0o500)
        fcntl.fcntl(copy.fileno(), _F_ADD_SEALS, _SEALS)
    except BaseException:
        copy.close()
        raise
    return copy


def is_sealed() -> bool:
    """The calling process runs from such a copy."""
    with Fd(os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)) as program:
        try:
            return fcntl.fcntl(program.fileno(), _F_GET_SEALS) & _SEALS == _SEALS
        except OSError as error:
            if error.errno == errno.EINVAL:  # a file of an ordinary file system
                return False
            raise
