"""How well questions about ordinary files are answered, as figures: `python -m benchmarks.own_files`."""
