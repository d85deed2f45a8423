#!/bin/sh
# Installs Debian packages in a build, and leaves nothing behind that differs between two builds.
# Usage: packages.sh PACKAGE...
set -eu

export DEBIAN_FRONTEND=noninteractive

# Documentation is left out, licences are not.
cat >/etc/dpkg/dpkg.cfg.d/gra-small <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
END

# Git, and what looks after the MIME types that s3fs reads, depend on all of Perl (50 MB) for commands
# such as git send-email.  perl-base is in every Debian; this package is in the place of the rest.
# https://www.debian.org/doc/debian-policy/ch-relationships.html#virtual-packages-provides
without_perl() {
    folder=$(mktemp -d)
    mkdir "$folder/DEBIAN"
    cat >"$folder/DEBIAN/control" <<'END'
Package: gra-without-perl
Version: 1
Architecture: all
Maintainer: gra
Provides: perl, liberror-perl
Description: stands for perl, of which only perl-base is installed
END
    dpkg-deb --root-owner-group --build "$folder" /tmp/gra-without-perl.deb >/dev/null
    dpkg --install /tmp/gra-without-perl.deb >/dev/null
    rm -r "$folder" /tmp/gra-without-perl.deb
}

if [ -e /run/secrets/apt ]; then
    export APT_CONFIG=/run/secrets/apt
fi
# Not where the base has all of Perl, nor for a second time.
state='${db:Status-Abbrev}\n'
if ! dpkg-query --show -f "$state" perl gra-without-perl 2>/dev/null | grep -q '^ii'; then
    without_perl
fi

apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
apt-get clean

# An sshd makes its keys where it runs: all containers would have those of the image.
rm -f /etc/ssh/ssh_host_*
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/*
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
rm -f /var/lib/dpkg/*-old /var/lib/dpkg/triggers/Lock
find /var/log -type f -exec truncate --size 0 {} +
