"""The dampings of the sweeps."""

DAMPINGS = tuple(f"{10.0**e:g}" for e in range(-3, 4)) + tuple(
    f"trace:{10.0**e:g}" for e in range(-5, 2)
)
"""Six decades of α in λ = α · mean ‖g‖² / d, and six of β in λ = β · mean ‖g‖²."""

ABSOLUTE = tuple(f"abs:{10.0**e:g}" for e in range(-6, 1))
"""Six decades of λ itself, the same for every block, about the sizes that α and β give on GLUE."""
