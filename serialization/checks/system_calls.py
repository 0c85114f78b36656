"""The system calls by which a process takes rights from itself: Landlock and seccomp, through ctypes.

Landlock (landlock(7), since Linux 5.13) limits the files and TCP ports; each newer kernel, by its ABI number, limits
more. A seccomp filter (seccomp(2)) refuses system calls by number and argument. Neither needs privileges, neither can
be undone, and both hold for the threads and processes that are started afterwards.

The Python packages for Landlock are young, and none has a seccomp filter; these are six calls with fixed numbers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

# linux/landlock.h
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_DEVICES = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # character and block devices, sockets, pipes
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1

READ = READ_FILE | READ_DIR
USE_DEVICE = READ_FILE | WRITE_FILE | _IOCTL_DEV
WRITE = ((1 << 15) - 1) & ~(EXECUTE | _MAKE_DEVICES)

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH, _NET_PORT = 1, 2

_SET_PDEATHSIG, _SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2  # linux/seccomp.h
_TSYNC, _SPEC_ALLOW = 1, 4  # the filter holds for all threads; it does not slow down the processor
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM

_NONE = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # a kernel or a container without it

# By `os.uname().machine`: AUDIT_ARCH (linux/audit.h), and the place of this machine's numbers in _NUMBERS.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_X32 = 0x40000000  # the numbers of x86_64's other ABI begin here
_NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "connect": (42, 203),
    "execve": (59, 221),
    "execveat": (322, 281),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "mount": (165, 40),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "seccomp": (317, 277),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setns": (308, 268),
    "socket": (41, 198),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}

# A condition on a call: the argument's number, the bits that count, and the values that these may have. A rule is the
# alternatives under which a call is allowed; the conditions of an alternative hold together.
Condition = tuple[int, int, Sequence[int]]
Rule = Sequence[Sequence[Condition]]


def find_landlock_abi() -> int:
    """The version of Landlock that this kernel has; 0 where it has none."""
    return max(0, _call(_CREATE_RULESET, None, 0, _VERSION, may_fail=_NONE)) if _is_known_machine() else 0


def has_seccomp() -> bool:
    """Whether this kernel takes a filter that refuses system calls."""
    if not _is_known_machine():
        return False
    action = ctypes.c_uint32(_REFUSE & 0xFFFF0000)
    return _call(_number("seccomp"), _GET_ACTION_AVAIL, 0, ctypes.byref(action), may_fail=_NONE) == 0


def restrict_files(allowed: Iterable[tuple[Path, int]], ports: Collection[int], *, talks: bool) -> None:
    """Allow this thread, and those it starts, these rights on files and below folders; and to listen on these ports.

    A path that is not there is left out. `talks` keeps the abstract sockets of unix(7), which have no path. Rights that
    this kernel's Landlock does not know are not limited.
    """
    abi = find_landlock_abi()
    handled = (1 << (13 + (abi >= 2) + (abi >= 3))) - 1 | (_IOCTL_DEV if abi >= 5 else 0)
    network = _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0
    scoped = (_SCOPE_SIGNAL | (0 if talks else _SCOPE_ABSTRACT_UNIX_SOCKET)) if abi >= 6 else 0
    attributes = struct.pack("=QQQ", handled, network, scoped)  # an older kernel wants to see zeros where it knows none
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path, rights in allowed:
            _allow_path(ruleset, path, rights & handled)
        for port in ports if network else ():
            _call(_ADD_RULE, ruleset, _NET_PORT, struct.pack("=QQ", _BIND_TCP, port), 0)
        forbid_new_privileges()
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):  # nothing is there, or this user cannot reach it
        return
    if not stat.S_ISDIR(os.fstat(handle).st_mode):
        rights &= _OF_A_FILE
    if rights:  # none are left where folders may be listed, and an archive is a file in a folder's place
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    if not path.is_relative_to("/proc"):  # the kernel forgets a file there that nobody holds, and its rule with it
        os.close(handle)


def filter_calls(rules: Mapping[str, Rule]) -> None:
    """Refuse each of these calls with EPERM in all threads, unless its rule allows it; other calls are left alone."""
    forbid_new_privileges()
    program = _assemble({_number(name): rule for name, rule in rules.items()})
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))  # struct sock_fprog
    _call(_number("seccomp"), _SET_MODE_FILTER, _TSYNC | _SPEC_ALLOW, header)


def forbid_new_privileges() -> None:
    """No program that this process starts gets more rights by being setuid; both restrictions ask for it."""
    _control(_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, the process `parent`, ends."""
    _control(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os._exit(1)


def _assemble(rules: Mapping[int, Rule]) -> list[tuple[int, int, int, int]]:
    """The filter in classic BPF: operation, jump if true, jump if false, value (linux/filter.h, linux/seccomp.h)."""
    load, and_, jump, equal, at_least, answer = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
    architecture, _ = _MACHINES[os.uname().machine]
    lines = [(load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, _REFUSE)]
    lines += [(load, 0, 0, 0), (at_least, 0, 1, _X32), (answer, 0, 0, _REFUSE)]
    for number, rule in rules.items():
        block = []
        for conditions in rule:
            alternative = [(answer, 0, 0, _ALLOW)]
            for argument, bits, values in reversed(conditions):
                otherwise = (jump, 0, 0, len(alternative))
                matches = [(equal, len(values) - place, 0, value) for place, value in enumerate(values)]
                lower_half = 16 + 8 * argument
                alternative = [(load, 0, 0, lower_half), (and_, 0, 0, bits), *matches, otherwise, *alternative]
            block += alternative
        block += [(answer, 0, 0, _REFUSE)]
        lines += [(equal, 0, len(block), number), *block]
    return [*lines, (answer, 0, 0, _ALLOW)]


def _is_known_machine() -> bool:
    return sys.platform == "linux" and os.uname().machine in _MACHINES and sys.byteorder == "little"


def _number(name: str) -> int:
    return _NUMBERS[name][_MACHINES[os.uname().machine][1]]


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _control(option: int, value: int) -> None:
    """Call prctl(2)."""
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def _call(number: int, *arguments: object, may_fail: Collection[int] = ()) -> int:
    """A system call; -1 where it fails with one of these errors. Raises OSError for any other."""
    result = int(_libc().syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments))))
    if result < 0 and ctypes.get_errno() not in may_fail:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result
