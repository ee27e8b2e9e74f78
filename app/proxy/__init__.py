"""The way into sessions' apps: a small Tornado process on the apps origin that imports no Panel and no Bokeh.

Modules: `origin` (which host and path is which session), `headers` (what passes), `doors` (who passes),
`upstream` (pinned TLS to a session's gateway), `exchange` (one request), `splice` (one websocket),
`activity` (what counts as a person's input), `answers` (the proxy's own pages), `server` (the process).
"""
