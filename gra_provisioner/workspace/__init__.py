"""The notebook's own directory in a runner: copied there at launch, results copied back.

``tree``, ``parcel`` and ``far`` are what both ends have: the standard library only, Python 3.8 or
later, since their text is sent to the runner and run there by the agent's Python.  ``plan``
decides, without I/O, what is to be copied.  The others are this end's: ``survey`` looks before
there is a runner, ``transfer`` talks with the far end, ``records`` remembers what was copied,
``sync`` copies, ``courier`` does all that for the service.
"""
