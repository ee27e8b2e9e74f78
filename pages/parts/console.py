"""The document a page is: drawn at once from what stands in it, and made live by one Panel component.

The browser shows the console from its own scripts and the JSON in the document (assets/web/console). BokehJS,
Panel's scripts and the websocket come after the first picture, for the component below. panel-material-ui's Page is
not used for the frame: nothing would show before its bundle has run, its drawer opens on phones, and it follows the
server's busy flag, which keeps every page that was ever opened in memory.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bokeh.document import Document
from bokeh.events import Event
from jinja2 import Environment, Template
from markupsafe import Markup
from panel.custom import JSComponent
from panel.models.esm import DataEvent

from pages.parts import assets
from pages.parts.desk import Desk

DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title | e }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="/assets/logo.svg">
<script>
  let choice = "auto"
  try { choice = localStorage.getItem("carme-theme") || "auto" } catch { /* storage is switched off */ }
  const dark = choice === "dark" || (choice === "auto" && matchMedia("(prefers-color-scheme: dark)").matches)
  document.documentElement.dataset.theme = dark ? "dark" : "light"
</script>
<link rel="stylesheet" href="{{ carme_base }}/console.css">
<link rel="stylesheet" href="{{ carme_base }}/usage.css">
<link rel="stylesheet" href="{{ carme_base }}/job.css">
<link rel="stylesheet" href="{{ carme_base }}/history.css">
{% for address in carme_modules %}<link rel="modulepreload" href="{{ address }}">
{% endfor %}<script type="application/json" id="carme-boot">{{ carme_boot }}</script>
<script type="module" src="{{ carme_base }}/main.js"></script>
</head>
<body>
<div id="carme" class="console"><noscript>This console needs JavaScript.</noscript></div>
<template id="carme-live">{{ bokeh_css }}{{ bokeh_js }}{{ plot_script }}</template>
<div id="carme-roots" hidden>
{% for doc in docs %}{% for root in doc.roots %}<div id="{{ root.elementid }}" data-root-id="{{ root.id }}"></div>
{% endfor %}{% endfor %}</div>
</body>
</html>
"""


class Console(JSComponent):
    """Carries messages between a document's desk and the scripts that draw the console."""

    _esm = """
    export function render({model}) {
      globalThis.carme.attach(model)
    }
    """

    def __init__(self, desk: Desk, page: str, boot: str, **params: Any) -> None:
        super().__init__(**params)
        self._desk = desk
        self._page = page
        self._boot = boot  # what the first picture is drawn from, as JSON

    def server_doc(self, doc: Document | None = None, title: str | None = None, location: Any = True) -> Document:
        filled: Document = super().server_doc(doc, title, location)
        filled.template = document_template()
        filled.template_variables["carme_base"] = assets.base()
        filled.template_variables["carme_modules"] = assets.modules(self._page)
        filled.template_variables["carme_boot"] = in_script(self._boot)
        return filled

    def _process_event(self, event: Event) -> None:
        # Not through Panel's callbacks: each of those would mark the whole server busy for a moment.
        if isinstance(event, DataEvent) and event.model is not None:
            self._desk.post(event.model, event.data)


@cache
def document_template() -> Template:
    """Plain Jinja: what is put in is either made here or escaped."""
    return Environment(autoescape=False).from_string(DOCUMENT)  # noqa: S701


def in_script(json: str) -> Markup:
    """JSON that can stand in a <script>: names of people, jobs and nodes can't end it or begin a comment."""
    escaped = json.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(escaped)  # noqa: S704 - no character that means anything to HTML is left
