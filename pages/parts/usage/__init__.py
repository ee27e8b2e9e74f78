"""The usage page without a browser: what its address asks, which window that is, what is drawn and listed."""
