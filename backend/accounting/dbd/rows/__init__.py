"""slurmdbd's rows, fetched in stretches and decoded to what the warehouse keeps."""
