"""``python -m gra_provisioner``: the same as ``gra``.  Kernelspecs start the launcher this way."""

from __future__ import annotations

from .cli.app import main

if __name__ == "__main__":
    main()
