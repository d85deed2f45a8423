#!/bin/sh
# Installs Python packages below a folder, as they are to lie below the image's root, with bytecode.
# Usage: python-packages.sh REQUIREMENTS FOLDER
set -eu

requirements=$1
root=$2

if ! python3 -I -m pip --version >/dev/null 2>&1; then
    sh "$(dirname "$0")/packages.sh" python3-pip
fi
if [ -e /run/secrets/pip ]; then
    export PIP_CONFIG_FILE=/run/secrets/pip
fi
if [ -e /run/secrets/ca ]; then
    export PIP_CERT=/run/secrets/ca
fi
# Nothing is built and nothing is resolved: the file has all that is needed, with its hashes.
python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile \
    --root-user-action ignore --no-warn-script-location --ignore-installed --no-deps \
    --only-binary :all: --require-hashes --requirement "$requirements" --root "$root"

packages=$(dirname "$(find "$root" -type d -name ipykernel)")
# What needs a compiler or a test runner to be of use.
find "$packages" -type d \( -name tests -o -path '*/tornado/test' \) -prune -exec rm -r {} +
find "$packages" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.a' \) -delete
rm -rf "$packages/pyarrow/include" "$packages/pyarrow/src" "$root"/usr/local/share/man
sh "$(dirname "$0")/bytecode.sh" "$packages"
