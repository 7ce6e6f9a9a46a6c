"""The paper's experiments (arXiv 2310.00902), at the scale of a desk and at its own."""
