"""The end of a worker: the kernel takes no more connections for it, and all that have been taken are read.

A server that stops listening resets the connections that wait in the kernel's queue, and those of which it has read
nothing yet. So new connections are refused first. The server ends once each connection has been accepted and read.

gRPC keeps its connections. gRPC's core tells clients to leave them when it stops, and cancels what they have sent until
they hear of it: at 16 connections, up to 13 calls. So clients are told before, as RFC 9113 (section 6.8) advises. Core
has no call for that, so the frame is written past it, while the socket has nothing left to send: core is then between
two frames, unless it begins in the same microseconds to write an answer that the socket does not take whole.
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
from typing import Any

_NOTICE = 0.5  # seconds in which answers carry `Connection: close`, before connections are refused
_LONGEST = 5.0  # seconds for a connection to send its first byte
_SETTLED = 0.2  # seconds without anything to read: a client that has been taken sends the last part of a handshake
_LOOK = 0.01  # seconds between looks

# SO_ATTACH_FILTER of socket(7), which Python's socket module lacks, and a program of four instructions, each with a
# code, two jumps and a value: load byte 13 of the TCP header, its flags; if SYN is set, drop the packet, else take it.
_ATTACH_FILTER = 26
_DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))

# struct tcp_info of linux/tcp.h. For a socket that listens, tcpi_unacked is the length of its queue.
_ESTABLISHED, _UNACKED, _BYTES_ACKED, _BYTES_RECEIVED = 1, 24, 120, 128

# The frame GOAWAY of HTTP/2, RFC 9113, section 6.8: 8 bytes of type 7 on stream 0. All streams up to the last possible
# one are answered; there is no error.
_GOAWAY = struct.pack(">IBIII", 8 << 8 | 7, 0, 0, 2**31 - 1, 0)


def split_grace(grace: float) -> tuple[float, float]:
    """Of the seconds that a server has to end: those of the notice, and the most until all connections are read."""
    return min(_NOTICE, grace / 2), min(_LONGEST, grace / 4)


def drain_connections(sockets: Iterable[socket.socket], longest: float, rpc_port: int | None = None) -> None:
    """Refuse new connections on those sockets that listen; return when all others have been read.

    That takes `longest` seconds at most. `sockets` gives those of the moment, each time it is iterated over. Clients
    that are connected to `rpc_port` are told to begin no more calls.
    """
    told: set[Any] = set()  # their addresses
    end = time.monotonic() + longest
    for found in sockets:
        if _is_tcp(found) and _listens(found):
            _refuse_connections(found)
    since = math.inf  # the first of the last looks that saw nothing; a busy machine may take long between two
    while (now := time.monotonic()) < end:
        noisy = [_is_tcp(found) and not _is_quiet(found, rpc_port, told) for found in sockets]  # all are to be told
        if any(noisy):
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


def _is_quiet(found: socket.socket, rpc_port: int | None, told: set[Any]) -> bool:
    """Whether all that came has been read, and the client of a gRPC connection has been told to leave it."""
    info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
    if info[0] == _ESTABLISHED and rpc_port is not None and found.getsockname()[1] == rpc_port:
        client = found.getpeername()
        if client not in told and not _send_goaway(found, info):
            return False
        told.add(client)
    return not _has_more(found, info)


def _send_goaway(found: socket.socket, info: bytes) -> bool:
    """Tell the client of an HTTP/2 connection to begin no more streams; False if that has to wait."""
    unsent = array.array("i", [0])
    fcntl.ioctl(found, termios.TIOCOUTQ, unsent)
    if unsent[0] or struct.unpack_from("=Q", info, _BYTES_ACKED)[0] <= 1:  # SETTINGS have to come first
        return False
    try:
        return found.send(_GOAWAY, socket.MSG_DONTWAIT) == len(_GOAWAY)
    except OSError:  # the client has gone
        return True


def _has_more(found: socket.socket, info: bytes) -> bool:
    """Whether connections wait to be accepted, or a connection has bytes to be read, or has sent none yet."""
    if _listens(found):
        return bool(struct.unpack_from("=I", info, _UNACKED)[0])
    if info[0] != _ESTABLISHED:
        return False
    unread = array.array("i", [0])
    fcntl.ioctl(found, termios.FIONREAD, unread)
    return unread[0] > 0 or not struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]
