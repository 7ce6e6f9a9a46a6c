"""What happens when things go wrong, tried out: killed processes, flipped bytes."""
