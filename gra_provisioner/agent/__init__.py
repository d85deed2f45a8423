"""The agent: the first process of a runner, pid 1 of a pod or a detached local process.

Standard library only, Python 3.8 or later, because it runs in whatever image a user names.
"""

#: The file in a local runner's own folder that says who is deleting it.
DELETION_NOTE = "deleted"
