#!/usr/bin/env bash
# Installs Debian packages where we may, and else says what is to be installed.
# Usage: tools/apt-install.sh REASON PACKAGE...
set -euo pipefail

reason=$1
shift

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "$reason Please install: $* (on Debian and Ubuntu: sudo apt-get install $*)" >&2
    exit 1
fi

echo "$reason Installing with apt-get: $*" >&2
export DEBIAN_FRONTEND=noninteractive
# The package lists of a fresh image are empty.
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "$@" >&2
