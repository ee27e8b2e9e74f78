"""The node service: looks at all jobs of a node, sends what it saw, and shows it to Prometheus.

Standard library only. Parts: `allocation` (which GPUs Slurm gave a job), `attribution` (which GPU is whose, or why that
is not certain), `exposition` (Prometheus' text), `service` (the whole), `command` (its command line).
"""
