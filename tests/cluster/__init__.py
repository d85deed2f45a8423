"""A real one-node Kubernetes on this host, for the tests: ``python -m tests.cluster --help``."""
