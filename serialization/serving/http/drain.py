"""The end of a worker: the kernel takes no more connections for it, and all that have been taken are read.

A server that stops listening resets the connections that wait in the kernel's queue, and those of which it has read
nothing yet. So new connections are refused first. The server ends once each connection has been accepted and read.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import math
import socket
import struct
import termios
import time
from collections.abc import Iterable

_NOTICE = 0.5  # seconds in which answers carry `Connection: close`, before connections are refused
_LONGEST = 5.0  # seconds for a connection to send its first byte
_SETTLED = 0.2  # seconds without anything to read: a client that has been taken sends the last part of a handshake
_LOOK = 0.01  # seconds between looks

# SO_ATTACH_FILTER of socket(7), which Python's socket module lacks, and a program of four instructions, each with a
# code, two jumps and a value: load byte 13 of the TCP header, its flags; if SYN is set, drop the packet, else take it.
_ATTACH_FILTER = 26
_DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))

# struct tcp_info of linux/tcp.h. For a socket that listens, tcpi_unacked is the length of its queue.
_ESTABLISHED, _UNACKED, _BYTES_RECEIVED = 1, 24, 128


def split_grace(grace: float) -> tuple[float, float]:
    """Of the seconds that a server has to end: those of the notice, and the most until all connections are read."""
    return min(_NOTICE, grace / 2), min(_LONGEST, grace / 4)


def drain_connections(sockets: Iterable[socket.socket], longest: float) -> None:
    """Refuse new connections on those sockets that listen; return when all others have been read.

    That takes `longest` seconds at most. `sockets` gives those of the moment, each time it is iterated over.
    """
    end = time.monotonic() + longest
    for found in sockets:
        if _is_tcp(found) and _listens(found):
            _refuse_connections(found)
    since = math.inf  # the first of the last looks that saw nothing; a busy machine may take long between two
    while (now := time.monotonic()) < end:
        if any(_is_tcp(found) and _has_more(found) for found in sockets):
            since = math.inf
        elif now - since >= _SETTLED:
            return
        else:
            since = min(since, now)
        time.sleep(_LOOK)


def _is_tcp(found: socket.socket) -> bool:
    return found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _refuse_connections(listener: socket.socket) -> None:
    """Let the kernel drop all packets that begin a connection, and take those of connections that have begun."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _DROP_SYN))
    listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program)))


def _has_more(found: socket.socket) -> bool:
    """Whether connections wait to be accepted, or a connection has bytes to be read, or has sent none yet."""
    info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
    if _listens(found):
        return bool(struct.unpack_from("=I", info, _UNACKED)[0])
    if info[0] != _ESTABLISHED:
        return False
    unread = array.array("i", [0])
    fcntl.ioctl(found, termios.FIONREAD, unread)
    return unread[0] > 0 or not struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]
