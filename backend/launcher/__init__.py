"""Acting as a person: the one process that can, its client, and the program it runs as them."""
