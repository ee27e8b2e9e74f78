"""The one that writes: sealing, archiving, putting files together, removing what is too old."""
