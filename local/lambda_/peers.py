"""Finds the user of the machine at the other end of a loopback connection.

Linux lists its sockets in /proc/net/tcp ("proc(5)"): one line for each, with its own address, its
peer's, the user as the eighth field and the inode as the tenth. A socket that its process has
closed has no inode and root as its user, so its user is unknown and the connection is refused. On a
system without that file every connection is accepted.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

_TABLE = Path("/proc/net/tcp")


def is_same_user(transport: Any) -> bool:
    """Return whether an IPv4 connection comes from a process of the user of this process."""
    if not _TABLE.exists():
        return True
    here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    addresses = f" {_address(there)} {_address(here)} "
    line = next((line for line in _TABLE.read_text().splitlines() if addresses in line), None)
    if line is None:
        return False
    fields = line.split()
    return int(fields[7]) == os.getuid() and fields[9] != "0"


def _address(address: tuple[str, int]) -> str:
    # The kernel prints the address as a number in the machine's byte order.
    number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"
