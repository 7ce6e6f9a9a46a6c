"""The dampings of the sweep."""

DAMPINGS = tuple(f"{10.0**e:g}" for e in range(-3, 4)) + tuple(
    f"trace:{10.0**e:g}" for e in range(-5, 2)
)
"""Six decades of α in λ = α · mean ‖g‖² / d, and six of β in λ = β · mean ‖g‖²."""
