"""What only a GPU can show, at full size: `python -m benchmarks.gpu`. See benchmarks/README.md."""
