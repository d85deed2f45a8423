#!/bin/sh
# Makes the user that runners have, and its folders.
set -eu

# No password opens it, and sshd does not take it for locked as it would with "!".
useradd --uid 1000 --user-group --create-home --shell /bin/bash --password '*' runner
install --directory --owner runner --group runner --mode 0755 /workspace
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
# On a volume it is root's, with the runner's group: git would take a repository there for another's.
git config --system --add safe.directory /workspace
