"""A real notebook on a runner, step by step (``make demo``)."""
