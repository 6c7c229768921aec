"""What a token costs here, beside the floor: `python -m benchmarks`."""
