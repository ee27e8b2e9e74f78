// Figures to take away: links to the files that the server makes of the same address.
import {h} from "../dom.js"
import {icon} from "../icons.js"
import {keepForm} from "../forms/report.js"

const FORMATS = {xlsx: ["Excel", "XLSX"], csv: ["Table as text", "CSV"], parquet: ["For programs", "Parquet"], json: ["For scripts", "JSON"], pdf: ["To print", "PDF"]}

const file = (app, what, format) => `/downloads/${what}.${format}?${app.route.query}`

/** A few links side by side. */
export const downloads = (app, what, formats) => formats.map((format) =>
  h("a", {class: "button", key: format, href: file(app, what, format), download: ""}, icon("save"), FORMATS[format][1]))

/** All formats behind one button. */
export function downloadMenu(app, own) {
  const close = () => { own.saving = false; app.render() }
  return h("div", {class: "save-menu", key: "save", onkeydown: (event) => {
    if (event.key !== "Escape" || !own.saving) return
    event.stopPropagation()
    close()
    event.currentTarget.querySelector("button").focus()
  }},
    h("button", {type: "button", class: "button", "aria-expanded": String(!!own.saving), onclick: () => { own.saving = !own.saving; app.render() }}, icon("save"), "Download"),
    own.saving ? [
      h("div", {class: "menu-away", key: "away", onclick: close}),
      h("ul", {class: "menu", key: "menu", "aria-label": "Formats"}, Object.entries(FORMATS).map(([format, [words, name]]) =>
        h("li", {key: format}, h("a", {class: "menu-item", href: file(app, "usage", format), download: "", onclick: () => setTimeout(close)}, h("strong", {}, name), h("span", {class: "quiet-text"}, words)))),
        h("li", {key: "keep"}, h("button", {type: "button", class: "menu-item", onclick: () => { own.saving = false; keepForm(app, `${app.route.query}`) }}, h("strong", {}, "Report"), h("span", {class: "quiet-text"}, "Keep it, mail it")))),
    ] : null)
}
