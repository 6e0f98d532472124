"""The kernel beside its peers in one run: `python -m benchmarks [P1 P3] [--rounds 5] [--quick]`."""
