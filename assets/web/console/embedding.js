// Embeds of a saved report, or all of them: make one, copy its code, end it.
import {h} from "./dom.js"
import {full} from "./format.js"
import {icon} from "./icons.js"
import {empty, field, notice, pills, select, skeleton} from "./ui.js"

const DAYS = [30, 90, 365]

/** Open the dialog. `report`: {id, name}, or null for all embeds. */
export function embedding(app, report = null) {
  const own = {report, list: null, everyones: false, error: "", problem: "", sites: "", live: true, days: 0, busy: false, made: "", ending: ""}
  app.ask(() => dialogOf(app, own))
  load(app, own)
}

function load(app, own) {
  app.call("reports.embeds", {report: own.report?.id || "", everyones: own.everyones}).then((found) => {
    own.list = found
    own.error = ""
    app.render()
  }, (error) => {
    own.error = error.message
    app.render()
  })
}

function dialogOf(app, own) {
  const {list} = own
  return {
    key: "embedding", wide: true, onclose: () => app.closeDialog(),
    title: own.report ? `Embed “${own.report.name}”` : "Embeds",
    body: [
      own.error ? notice("bad", own.error) : null,
      !list ? skeleton(4) : [
        own.report ? (list.enabled ? form(app, own) : notice("info", "Embeds are switched off here.")) : null,
        !own.report && list.may_see_all ? pills({label: "Whose", value: own.everyones ? "all" : "mine", options: [{value: "mine", label: "Mine"}, {value: "all", label: "Everybody’s"}],
          onpick: (value) => { own.everyones = value === "all"; load(app, own) }}) : null,
        list.embeds.length ? h("ul", {class: "plain embeds", "aria-label": "Embeds", key: "list"}, list.embeds.map((embed) => entry(app, own, embed)))
          : own.report ? null : empty("No embeds", "Make one from a saved report: it shows the report in another site’s page."),
      ],
    ],
    actions: [h("button", {type: "button", class: "button", onclick: () => app.closeDialog()}, "Close")],
  }
}

function form(app, own) {
  const longest = own.list.max_days
  const days = [...DAYS.filter((each) => each < longest), longest]
  const set = (name) => (value) => { own[name] = value; app.render() }
  return h("form", {key: "form", class: "embed-form", onsubmit: (event) => { event.preventDefault(); make(app, own) }},
    h("p", {class: "quiet-text"}, "Shows this report in a page of another site, a wiki say. Whoever has its code sees these figures, as you may see them now, without signing in."),
    field({
      id: "embed-sites", label: "Sites that may show it", problem: own.problem, hint: "With commas between several. A site is an origin, without a path.",
      control: h("input", {type: "text", id: "embed-sites", onmount: (el) => queueMicrotask(() => el.focus()), value: own.sites, placeholder: "https://wiki.example.org", autocomplete: "url", spellcheck: "false", "aria-invalid": own.problem ? "true" : undefined, "aria-describedby": own.problem ? "embed-sites-problem" : "embed-sites-hint", oninput: (event) => { own.sites = event.target.value }}),
    }),
    h("div", {class: "field"}, h("span", {class: "label"}, "Figures"),
      pills({label: "Figures", value: own.live ? "live" : "snapshot", options: [{value: "live", label: "Live"}, {value: "snapshot", label: "As of now"}], onpick: (value) => set("live")(value === "live")})),
    field({id: "embed-days", label: "Holds for", control: select({id: "embed-days", value: String(own.days || longest), options: days.map((each) => ({value: String(each), label: `${each} days`})), onchange: (value) => set("days")(Number(value))})}),
    h("button", {type: "submit", class: "button primary", disabled: own.busy}, own.busy ? "Making it…" : "Make an embed"))
}

function make(app, own) {
  own.busy = true
  own.problem = ""
  app.render()
  const sites = own.sites.split(/[\s,]+/).filter(Boolean)
  app.call("reports.embed", {report: own.report.id, sites, live: own.live, days: own.days}).then((embed) => {
    Object.assign(own, {busy: false, made: embed.id, list: {...own.list, embeds: [embed, ...own.list.embeds]}})
    app.say("The embed is made. Its code can be copied.")
    app.render()
  }, (error) => {
    own.busy = false
    own.problem = error.problems?.[0]?.message || ""
    own.error = own.problem ? "" : error.message
    app.render()
  })
}

function entry(app, own, embed) {
  return h("li", {key: embed.id, class: "embed-entry" + (embed.id === own.made ? " fresh" : "")},
    h("div", {class: "embed-facts"},
      own.report ? null : h("strong", {}, embed.title), " ",
      h("span", {}, embed.live ? "Live" : `As of ${full(embed.created_s)}`), h("span", {class: "quiet-text"}, ` · ${embed.sites.join(", ")} · until ${full(embed.expires_s)}`),
      embed.mine ? null : h("span", {class: "quiet-text"}, ` · of ${embed.owner}`)),
    embed.script ? h("pre", {class: "mono embed-code", tabindex: "0", "aria-label": "Code"}, embed.script) : null,
    h("div", {class: "embed-tools"},
      embed.script ? [
        h("button", {type: "button", class: "button", onclick: () => copy(app, embed.script, "The script tag is copied.")}, "Copy script tag"),
        h("button", {type: "button", class: "button", onclick: () => copy(app, embed.iframe, "The frame is copied.")}, "Copy frame"),
        h("a", {class: "button quiet", href: embed.url, target: "_blank", rel: "noopener noreferrer"}, "Look"),
      ] : null,
      h("span", {class: "grow"}),
      own.ending === embed.id
        ? [h("span", {class: "quiet-text"}, "It will show nothing any more."), h("button", {type: "button", class: "button danger", onclick: () => end(app, own, embed)}, "Revoke it"), h("button", {type: "button", class: "button quiet", onclick: () => { own.ending = ""; app.render() }}, "Keep it")]
        : h("button", {type: "button", class: "button quiet", onclick: () => { own.ending = embed.id; app.render() }}, icon("close"), "Revoke")))
}

function end(app, own, embed) {
  app.call("reports.unembed", {embed: embed.id}).then(() => {
    own.list = {...own.list, embeds: own.list.embeds.filter((each) => each.id !== embed.id)}
    own.ending = ""
    app.toast("The embed is revoked.")
    app.render()
  }, (error) => app.toast(error.message, "bad"))
}

async function copy(app, text, said) {
  try {
    await navigator.clipboard.writeText(text)
    app.toast(said)
  } catch { // no permission, or no HTTPS: the code stands there to be selected
    app.toast("Copying is not possible here: select the code and copy it.", "bad")
  }
}
