"""What tests start Chromium with: a process that hears of no change of the network."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import network_blind

_PROGRAM = """
import socket
socket.create_server(("127.0.0.1", 0)).close()
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
def test_a_program_has_no_netlink_socket_and_all_others() -> None:
    command = [sys.executable, network_blind.__file__, sys.executable, "-c", _PROGRAM]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Address family not supported by protocol\n"
