"""What is in no file yet: samples, who sent them, the jobs they are of and their sums."""
