"""The command line: ``gra``.  One module a command group; :mod:`.app` puts them together."""
