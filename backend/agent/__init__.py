"""What runs inside a session's job: standard library only, Python 3.9 or later, shipped as one zipapp.

Modules: `spec` (what the console tells the job), `runtimes` and `apps` (command lines), `process` (one
running app), `http_head` and `gateway` (the way in), `registration` (telling the console the port),
`supervisor` (the life of the whole), `standby` (a job's further nodes), `sampler` (what is measured), `telemetry`
(how it gets to the console), `main` (the command line).
"""
