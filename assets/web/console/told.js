// What the person was told by those who run the cluster: on every page, until they put it away.
import {h} from "./dom.js"
import {when} from "./format.js"
import {icon} from "./icons.js"

export function toldBanner(app) {
  const notices = app.topic("told")?.notices
  if (!notices?.length) return null
  const [first] = notices
  const away = () => {
    app.closeDialog()
    app.call("home.seen", {id: first.id}).catch((error) => app.toast(error.message, "bad"))
  }
  const read = () => app.ask(() => ({
    key: "told", title: first.subject, wide: true, onclose: () => app.closeDialog(),
    body: h("pre", {class: "told-text", tabindex: "0"}, first.text),
    actions: [
      h("button", {type: "button", class: "button", onclick: () => app.closeDialog()}, "Later"),
      h("button", {type: "button", class: "button primary", "data-first": "", onclick: away}, "Got it"),
    ],
  }))
  return h("div", {class: "banner wait", role: "status", key: "told"}, icon("bell"),
    h("span", {}, `${first.subject} (${when(first.sent_s)})${notices.length > 1 ? `, and ${notices.length - 1} more` : ""}. `,
      h("button", {type: "button", class: "as-link", onclick: read}, "Read it")))
}
