"""What bulkreset can carry, measured: `python -m benchmarks`."""
