"""The console's one browser component and the Panel page around it.

The frame is drawn by the component (assets/web/console), not by panel-material-ui's Page, which opens its
drawer on phones and brings unnamed progress bars. Page gives the document, its theme, and the way Panel's and
Bokeh's own components look when a page shows some.
"""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmui
import param
from bokeh.events import Event
from panel.custom import JSComponent
from panel.models.esm import DataEvent

from pages.parts import assets
from pages.parts.desk import Desk

LOADER = """
export async function render({model, view, el}) {
  const sheet = document.createElement("link")
  sheet.rel = "stylesheet"
  sheet.href = model.base + "/console.css"
  const styled = new Promise((done) => { sheet.onload = done; sheet.onerror = done })
  view.shadow_el.prepend(sheet)
  await styled
  globalThis.carme.mount({model, view, el})
}
"""

TEMPLATE = """
{% extends "base.html" %}
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="/assets/logo.svg">
<link rel="preload" as="style" href="BASE/console.css">
MODULES
<script type="module" src="BASE/main.js"></script>
<script>
  try {
    var choice = localStorage.getItem("carme-theme") || "auto"
  } catch (error) {
    var choice = "auto"
  }
  var dark = choice === "dark" || (choice === "auto" && matchMedia("(prefers-color-scheme: dark)").matches)
  document.documentElement.dataset.theme = dark ? "dark" : "light"
</script>
<style>
  html, body { background: #f5f6f8 !important }
  html[data-theme=dark], html[data-theme=dark] body { background: #101319 !important }
  #carme-skeleton { position: fixed; inset: 0; z-index: 1290; background: inherit }
  #carme-skeleton i { position: absolute; left: 0; top: 0; background: #fff; border: 0 solid #e0e3e9 }
  #carme-skeleton i:first-child { right: 0; height: 51px; border-bottom-width: 1px }
  #carme-skeleton i:last-child { width: 187px; top: 52px; bottom: 0; border-right-width: 1px }
  html[data-theme=dark] #carme-skeleton i { background: #181c24; border-color: #2a303c }
  @media (max-width: 760px) { #carme-skeleton i:last-child { display: none } }
</style>
{% endblock %}
{% block loader_css %}{% endblock %}
{% block loader %}<div id="carme-skeleton" aria-hidden="true"><i></i><i></i></div>{% endblock %}
{% block loader_script %}{% endblock %}
"""

# Page's own bar stays empty, and its content starts at the top.
HIDE_CHROME = {"& > .header": {"display": "none"}, "& > main > div > .MuiToolbar-root": {"display": "none"}}


class Console(JSComponent):
    """Draws the console in the browser and carries its messages both ways."""

    base = param.String(doc="Address of the console's scripts and styles.")
    boot = param.String(doc="What the first picture is drawn from, as JSON.")

    _esm = LOADER

    def __init__(self, desk: Desk, **params: Any) -> None:
        super().__init__(**params)
        self._desk = desk

    def _process_event(self, event: Event) -> None:
        # Not through Panel's callbacks: each of those would mark the whole server busy for a moment.
        if isinstance(event, DataEvent) and event.model is not None:
            self._desk.receive(event.model, event.data)


def template() -> str:
    """The document around the page: its frame shows before any script has run."""
    modules = "\n".join(f'<link rel="modulepreload" href="{address}">' for address in assets.modules())
    return TEMPLATE.replace("BASE", assets.base()).replace("MODULES", modules)


def page(desk: Desk, boot: str, title: str) -> pmui.Page:
    """A document's whole content."""
    shown = pmui.Page(
        main=[Console(desk, base=assets.base(), boot=boot)],
        title="",
        meta_title=title,
        busy_indicator=None,
        theme_toggle=False,
        sidebar_open=False,
        sidebar_resizable=False,
        sx=HIDE_CHROME,
        template=template(),
    )
    unbind_busy(shown)
    return shown


def unbind_busy(shown: pmui.Page) -> None:
    """Cut Page's watch on the server's busy flag.

    Page follows it even without an indicator. The flag belongs to the whole process, so the watcher keeps
    every page that was ever opened in memory, and each toggle costs time for every open page.
    """
    for _, watcher in list(shown._param__private.ref_watchers):
        (watcher.inst or watcher.cls).param.unwatch(watcher)
    shown._param__private.ref_watchers.clear()


__all__ = ["Console", "page", "unbind_busy"]
