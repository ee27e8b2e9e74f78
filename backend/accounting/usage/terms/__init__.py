"""What can be asked for: metrics, dimensions, windows and zones, and the question itself."""
