"""Other tools on the same fine-tunings, each in an environment of its own; see README.md."""

PEERS = "peers.json"
"""What they scored, beside a fine-tuning's result."""
