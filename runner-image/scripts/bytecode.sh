#!/bin/sh
# Compiles Python's standard library to bytecode, where the base has left that out (Python's official
# images do): on a read-only root file system each start would do it again.
#
# Not checked against times, because a build that can be repeated changes those.
# Usage: bytecode.sh [FOLDER]...      default: the standard library
set -eu

# Bytecode has the order of a set in it.
export PYTHONHASHSEED=0
if [ $# -eq 0 ]; then
    set -- "$(python3 -I -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
    left_out='/(site-packages|dist-packages|test|tests|idlelib|lib2to3|ensurepip|turtledemo)/'
fi
python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash -x "${left_out:-^$}" "$@"
