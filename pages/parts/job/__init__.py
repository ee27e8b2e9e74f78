"""The parts of the Job page, which Compare shares: facts, charts, and why there is nothing to draw."""
