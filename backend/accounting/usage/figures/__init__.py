"""How a figure comes about: which rows count, what of each, in which groups, and what is said of it."""
