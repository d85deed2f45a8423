"""The agent: the first process of a runner, pid 1 of a pod or a detached local process.

Standard library only, Python 3.8 or later, because it runs in whatever image a user names.
"""
