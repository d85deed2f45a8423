#!/bin/sh
# Removes pip, where the base has it.
set -eu

if python3 -I -c 'import pip' 2>/dev/null; then
    python3 -m pip uninstall --yes --quiet --root-user-action ignore pip
fi
stdlib=$(python3 -I -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
# It has a wheel of pip in it.
rm -rf "$stdlib/ensurepip"
