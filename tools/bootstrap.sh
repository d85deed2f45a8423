#!/usr/bin/env bash
# Makes .venv, the environment that every target of the Makefile runs in, from
# requirements/ and this tree.  Does nothing where it is up to date: .venv/.gra-stamp
# holds the hash of all that it was made from.
#
#   tools/bootstrap.sh        make or renew .venv
#   tools/bootstrap.sh uv …   run uv with the settings used here
#
# Variables: PYTHON names the interpreter of a new .venv (default: the newest suitable one on
# PATH).  pip's settings for an index, links and a certificate hold for uv too, unless uv has its
# own (UV_DEFAULT_INDEX, UV_INDEX, UV_FIND_LINKS, SSL_CERT_FILE).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv_version=0.13.8
uv_minimum=0.8.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gra
stamp=.venv/.gra-stamp

say() { echo "bootstrap: $*" >&2; }

# The packages are pinned, and built for these versions.
suitable_python='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'

is_suitable() { "$1" -c "$suitable_python" >/dev/null 2>&1; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_suitable "$PYTHON" || { say "PYTHON=$PYTHON is not Python 3.10 to 3.14"; return 1; }
        command -v "$PYTHON"
        return
    fi
    for candidate in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do
        # A pyenv shim can be on PATH and start nothing: only running it tells.
        if command -v "$candidate" >/dev/null && is_suitable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# pip_setting NAME: the value in the variable PIP_NAME or in pip's configuration files.
pip_setting() {
    local value
    value=$(sed -n "s/^[a-z:]*\.$1='\(.*\)'\$/\1/p" <<<"$pip_settings" | head -n 1)
    printf '%b' "$value"
}

# joined_by SEPARATOR TEXT: the words of TEXT, which may be on several lines.
joined_by() { xargs printf "%s\n" <<<"$2" | paste -s -d "$1" -; }

# uv reads neither pip's variables nor pip.conf.  By variables, not arguments: an index's address
# may hold a password.
take_over_pip_settings() {
    local pip_settings value
    pip_settings=$("$python" -m pip config list 2>/dev/null) || return 0
    value=$(pip_setting index-url)
    if [ -n "$value" ]; then
        export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-$value}}
    fi
    value=$(pip_setting extra-index-url)
    if [ -n "$value" ]; then
        export UV_INDEX=${UV_INDEX:-${UV_EXTRA_INDEX_URL:-$(joined_by ' ' "$value")}}
    fi
    value=$(pip_setting find-links)
    if [ -n "$value" ]; then
        export UV_FIND_LINKS=${UV_FIND_LINKS:-$(joined_by , "$value")}
    fi
    value=$(pip_setting cert)
    if [ -n "$value" ]; then
        export SSL_CERT_FILE=${SSL_CERT_FILE:-$value}
    fi
}

configure_uv() {
    export UV_CACHE_DIR=${UV_CACHE_DIR:-$cache/uv-cache}
    export UV_PYTHON_DOWNLOADS=never
    # Behind a proxy that inspects TLS only the machine's own certificates are of use.  A minimal
    # image has none: uv's own are used there.
    if [ -n "$(ls -A /etc/ssl/certs 2>/dev/null)" ] || [ "$(uname)" = Darwin ]; then
        export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}
    fi
    take_over_pip_settings
}

at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Called in $(…), where bash does not stop at the first failure by itself.
find_uv() {
    local found installed=$cache/uv/$uv_version
    if found=$(command -v uv) && at_least "$(uv --version | cut -d' ' -f2)" "$uv_minimum"; then
        echo "$found"
        return
    fi
    if [ ! -x "$installed/bin/uv" ]; then
        install_uv "$installed" || return
    fi
    echo "$installed/bin/uv"
}

install_uv() {
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        tools/apt-install.sh "Neither uv nor pip was found." python3-pip || return
    fi
    say "installing uv $uv_version with pip into $1"
    rm -rf "$1" "$1.new"
    # Debian's pip refuses to install into the system's Python; a folder of ours is allowed.
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --target "$1.new" "uv==$uv_version" >&2 || return
    mv "$1.new" "$1"
}

digest() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }

# What .venv is made from.  The tree's own modules are not: the installation is an editable one.
sources_digest() {
    {
        pwd
        cat tools/bootstrap.sh requirements/*.txt pyproject.toml gra_provisioner/__init__.py
        find kernelspecs jupyter-config -type f | LC_ALL=C sort | while read -r file; do
            echo "$file"
            cat "$file"
        done
    } | digest | cut -d' ' -f1
}

is_current() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(sources_digest)" ] && is_suitable .venv/bin/python
}

need_python() {
    python=$(find_python) && return
    [ -z "${PYTHON:-}" ] || exit 1
    tools/apt-install.sh "No Python 3.10 to 3.14 was found." python3 python3-pip
    python=$(find_python) || { say "the Python just installed is not 3.10 to 3.14"; exit 1; }
}

make_environment() {
    if ! is_suitable .venv/bin/python; then
        say "making .venv with $("$python" --version)"
        rm -rf .venv
        "$uv" venv --quiet --python "$python" .venv
    fi
    say "installing what requirements/dev.txt pins (at first this takes a minute)"
    rm -f "$stamp"
    "$uv" pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements/dev.txt
    rm -rf .venv/schemas
    "$uv" pip install --quiet --python .venv/bin/python --require-hashes \
        --target .venv/schemas --requirements requirements/schemas.txt
    # The build tools are among what is pinned: no second environment, nothing unpinned.
    "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
    sources_digest >"$stamp"
    say "ready: $(.venv/bin/python --version) in .venv"
}

if [ "${1:-}" = uv ]; then
    shift
    need_python
    uv=$(find_uv)
    configure_uv
    exec "$uv" "$@"
fi

is_current && exit
# Two targets started at the same time make one environment.
if command -v flock >/dev/null; then
    mkdir -p build
    exec 9>build/bootstrap.lock
    flock 9
    is_current && exit
fi
need_python
uv=$(find_uv)
configure_uv
make_environment
