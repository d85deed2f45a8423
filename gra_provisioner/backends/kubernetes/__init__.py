"""Runners as pods: the only package that talks to Kubernetes.  Imported when a cluster is used."""
