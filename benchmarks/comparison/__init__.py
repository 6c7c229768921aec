"""The same faults on this package, the official SDK and their peers: `python -m benchmarks.comparison`."""
