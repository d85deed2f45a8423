"""Runs a program that hears of no change of the network: ``network_blind.py PROGRAM ARGUMENT…``.

Chromium breaks off all its requests, those to this machine too, when an address comes or goes on
any interface (``net::ERR_NETWORK_CHANGED``), and each pod of the test cluster brings an interface.
Where it gets no netlink socket it takes the network for one that does not change
(``AbortAndForceOnline`` in Chromium's ``net/base/address_tracker_linux.cc``).

Standard library only: the program takes this process's place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

# <linux/prctl.h>, <linux/seccomp.h>
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_AF_NETLINK = 16
# By machine: <linux/audit.h>'s name of it, and the number of socket(2).
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
# <linux/bpf_common.h>: load a word of struct seccomp_data; jump if equal; return.
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def _filter(architecture: int, socket: int) -> bytes:
    """A program by which the kernel refuses netlink sockets, and nothing else."""
    instructions = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 0, 5, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_EQUAL, 0, 3, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 0, 1, _AF_NETLINK),
        (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    )
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of <linux/filter.h>."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_netlink() -> None:
    """Let this process, and those it starts, have no netlink socket.  Raises :class:`OSError`."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOTSUP, f"not known how on {platform.machine()}")
    instructions = _filter(*machine)
    program = _Program(len(instructions) // 8, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def main() -> None:
    """Become the program; where netlink cannot be refused, all the same."""
    try:
        refuse_netlink()
    except OSError as error:
        print(f"changes of the network will disturb {sys.argv[1]}: {error}", file=sys.stderr)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
