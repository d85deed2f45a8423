"""What the tests with real kernels share: waiting, processes, kernelspecs, servers."""
