"""What is sampled goes to the console: as series, in batches that are kept until they were taken.

Standard library only. Parts: `series` (a sample in the console's words), `batch` (bytes and signature of what is sent),
`push` (keeping and sending), `watch` (a job's own agent), `own` (which GPUs are the job's).
"""
