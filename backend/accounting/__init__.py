"""Who used what: Slurm's accounts copied into a warehouse, and every figure computed from it by one engine."""
