"""Finds the user of the machine at the other end of a loopback connection.

The kernel is asked about one socket ("sock_diag(7)"), which takes microseconds. Where it does not
answer, the socket is looked up in /proc/net/tcp ("proc(5)"), which takes some ten milliseconds: one
line for each socket, with its own address, its peer's, the user as the eighth field and the inode
as the tenth. A socket that its process has closed has no inode and root as its user, so its user is
unknown and the connection is refused. On a system without that file every connection is accepted.
"""

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

_TABLE = Path("/proc/net/tcp")
_SOCK_DIAG = 4  # the netlink family
_SOCK_DIAG_BY_FAMILY = 20  # the message's type; an error is another type
_NO_COOKIE = b"\xff" * 8
_USER_AT = 16 + 4 + 48 + 12  # header; family to retransmits; socket's id; expiry and two queues

Address = tuple[str, int]


def is_same_user(transport: Any) -> bool:
    """Return whether an IPv4 connection comes from a process of the user of this process."""
    if not _TABLE.exists():
        return True
    here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    found = _asked(there, here) or _listed(there, here)
    return found is not None and found[0] == os.getuid() and found[1] != 0


def _asked(own: Address, peer: Address) -> tuple[int, int] | None:
    """Return user and inode of a TCP socket, or None if the kernel does not tell."""
    address = struct.pack("!HH", own[1], peer[1])
    address += socket.inet_aton(own[0]) + bytes(12) + socket.inet_aton(peer[0]) + bytes(12)
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    request += address + struct.pack("=I", 0) + _NO_COOKIE
    header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, 1, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.send(header + request)
            answer = kernel.recv(4096)
    except (AttributeError, OSError):  # AF_NETLINK is Linux's, and a sandbox may refuse it
        return None
    if len(answer) < _USER_AT + 8 or answer[4:6] != struct.pack("=H", _SOCK_DIAG_BY_FAMILY):
        return None
    user, inode = struct.unpack_from("=II", answer, _USER_AT)
    return user, inode


def _listed(own: Address, peer: Address) -> tuple[int, int] | None:
    """Return user and inode of a TCP socket in the kernel's table, or None."""
    wanted = f" {_hexadecimal(own)} {_hexadecimal(peer)} "
    line = next((line for line in _TABLE.read_text().splitlines() if wanted in line), None)
    if line is None:
        return None
    fields = line.split()
    return int(fields[7]), int(fields[9])


def _hexadecimal(address: Address) -> str:
    # The kernel prints the address as a number in the machine's byte order.
    number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"
