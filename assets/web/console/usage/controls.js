// What the usage page is asked: presets, metric, split, window, comparison and filters. Every control changes the
// address and nothing else.
import {h} from "../dom.js"
import {icon} from "../icons.js"
import {field, go, select, toggle} from "../ui.js"
import {flip, presets, to, values} from "./address.js"

const CHARTS = [
  ["time", "Over time"], ["rank", "Ranking"], ["tree", "Account tree"], ["week", "Hours of the week"], ["wait", "Wait by size"], ["capacity", "Cluster"],
]
const WHOSE = {mine: "Mine", accounts: "My accounts", all: "Everyone"}
const UNITS = {h: "Used", "GB·h": "Used", kWh: "Used", money: "Used", count: "Jobs", s: "Waiting", "%": "How well"}
const DATE = /^\d{4}-\d{2}-\d{2}$/
const TYPING_MS = 200

export function presetRow(app, topic) {
  return h("nav", {class: "presets", "aria-label": "Presets", key: "presets"}, presets(topic).map(([words, query]) => {
    const path = `/usage?${query}`
    const here = app.route.query.toString() === new URLSearchParams(query).toString()
    return go(app, path, {class: "preset", key: words, "aria-current": here ? "true" : undefined}, words)
  }))
}

export function whose(app, view) {
  const allowed = app.boot.usage_who
  if (allowed.length < 2) return null
  const chosen = view ? view.who : app.route.query.get("who") || allowed[allowed.length - 1]
  return h("div", {class: "segmented", role: "group", "aria-label": "Whose usage"}, allowed.map((who) =>
    h("button", {type: "button", key: who, "aria-pressed": String(chosen === who), onclick: () => to(app, {who, cell: null})}, WHOSE[who])))
}

export function kinds(app, view) {
  return h("div", {class: "segmented charts", role: "group", "aria-label": "Chart"}, CHARTS.map(([name, words]) =>
    h("button", {type: "button", key: name, "aria-pressed": String(view.chart === name), onclick: () => to(app, {chart: name === "time" ? null : name, cell: null})}, words)))
}

export function controls(app, own, topic, view) {
  const shown = own.controls ?? false
  return h("section", {class: "block usage-controls" + (shown ? " shown" : ""), "aria-label": "Question", key: "controls"},
    h("button", {type: "button", class: "disclosure controls-toggle", key: "toggle", "aria-expanded": String(shown), onclick: () => { own.controls = !shown; app.render() }},
      icon(shown ? "down" : "right"), "Metric, window, filters", h("span", {class: "quiet-text"}, view.where.length ? `${view.where.length} set` : "")),
    h("div", {class: "usage-fields"}, metric(app, topic, view), split(app, topic, view), span(app, own, topic, view), pieces(app, topic, view), compare(app, view)),
    own.dates ? dates(app, own, view) : null,
    filters(app, own, topic, view))
}

function metric(app, topic, view) {
  const groups = new Map()
  for (const [name, title, unit] of topic.metrics) {
    const key = UNITS[unit] || "Other"
    if (!groups.has(key)) groups.set(key, [])
    groups.get(key).push([name, title])
  }
  const idle = ["wait"].includes(view.chart)
  return field({id: "usage-metric", label: "Metric", control:
    h("select", {id: "usage-metric", value: view.metric, disabled: idle, onchange: (event) => to(app, {metric: event.target.value, sort: null})},
      [...groups].map(([title, entries]) => h("optgroup", {label: title, key: title}, entries.map(([name, words]) => h("option", {key: name, value: name, selected: name === view.metric}, words)))))})
}

function split(app, topic, view) {
  const idle = !["time", "rank"].includes(view.chart)
  return field({id: "usage-by", label: "Split by", control:
    h("select", {id: "usage-by", value: view.by || "none", disabled: idle, onchange: (event) => to(app, {by: event.target.value, sort: null, rows: null})},
      h("option", {value: "none", key: "none", selected: !view.by}, "Nothing"),
      topic.dimensions.map(([name, title]) => h("option", {key: name, value: name, selected: name === view.by}, title)))})
}

function span(app, own, topic, view) {
  const chosen = own.dates ? "dates" : view.window || "these"
  return field({id: "usage-window", label: "Window", control: select({id: "usage-window", value: chosen,
    options: [...(view.window ? [] : [{value: "these", label: view.words || "…"}]), ...topic.windows.map(([value, label]) => ({value, label})), {value: "dates", label: "From … to …"}],
    onchange: (value) => {
      if (value === "these") return
      if (value === "dates") {
        own.dates = {since: view.since, last: dayBefore(view.until), problem: ""}
        app.render()
        requestAnimationFrame(() => app.root.querySelector("#usage-since")?.focus())
        return
      }
      own.dates = null
      to(app, {window: value === "30d" ? null : value, since: null, until: null, grain: null})
    }})})
}

function dates(app, own, view) {
  const apply = () => {
    const {since, last} = own.dates
    if (!DATE.test(since) || !DATE.test(last)) own.dates.problem = "Both days are needed, as YYYY-MM-DD."
    else if (last < since) own.dates.problem = "The last day is before the first."
    else {
      own.dates = null
      to(app, {window: null, since, until: dayAfter(last), grain: null})
      return
    }
    app.render()
  }
  const day = (id, label, name) => field({id, label, control: h("input", {id, type: "date", value: own.dates[name], max: "2199-01-01", onchange: (event) => { own.dates[name] = event.target.value }, onkeydown: (event) => event.key === "Enter" && apply()})})
  return h("div", {class: "usage-dates", key: "dates"},
    day("usage-since", "First day", "since"), day("usage-until", "Last day", "last"),
    h("button", {type: "button", class: "button primary", onclick: apply}, "Show"),
    h("button", {type: "button", class: "button quiet", onclick: () => { own.dates = null; app.render() }}, "Leave"),
    own.dates.problem ? h("p", {class: "problem", role: "alert"}, own.dates.problem) : h("p", {class: "hint"}, `Days begin at midnight, ${view.zone}.`))
}

function pieces(app, topic, view) {
  const idle = !["time", "capacity"].includes(view.chart)
  return field({id: "usage-grain", label: "Time steps", control: select({id: "usage-grain", value: view.grain,
    options: [{value: "", label: "Automatic"}, ...topic.grains.map((value) => ({value, label: value[0].toUpperCase() + value.slice(1) + "s"}))],
    disabled: idle, onchange: (value) => to(app, {grain: value})})})
}

function compare(app, view) {
  const fits = ["time", "rank"].includes(view.chart)
  return h("div", {class: "field compare" + (fits ? "" : " idle"), key: "compare"}, h("span", {class: "label"}, "Compare"),
    fits ? toggle("With the period before", view.compare, () => to(app, {compare: view.compare ? null : "1"})) : h("span", {class: "quiet-text"}, "in time and ranking"))
}

// -- filters -----------------------------------------------------------------------------------------------

function filters(app, own, topic, view) {
  const title = (name) => topic.dimensions.find(([key]) => key === name)?.[1] || name
  const pills = view.where.flatMap(([name, list]) => list.map((value) =>
    h("button", {type: "button", class: "pill", key: `${name}=${value}`, "aria-pressed": "true", "aria-label": `Remove filter ${title(name)} ${value || "none"}`, onclick: () => flip(app, name, value)},
      h("span", {class: "pill-note"}, title(name)), h("span", {class: "clip"}, value || "none"), h("span", {"aria-hidden": "true"}, "✕"))))
  const clear = () => to(app, Object.fromEntries(view.where.map(([name]) => [name, null])))
  return h("div", {class: "filter usage-filter", role: "group", "aria-label": "Filters", key: "filters"}, h("span", {class: "filter-label"}, "Only"),
    pills.length ? pills : own.adding ? null : h("span", {class: "quiet-text", key: "all"}, "all jobs"),
    own.adding ? adding(app, own, topic) : h("button", {type: "button", class: "pill add", key: "add", onclick: () => begin(app, own, topic)}, "+ Filter"),
    pills.length > 1 ? h("button", {type: "button", class: "button quiet clear", key: "clear", onclick: clear}, icon("close"), "Clear filters") : null)
}

function begin(app, own, topic) {
  own.adding = {dimension: topic.dimensions[1][0], values: null, text: ""}
  look(app, own)
  requestAnimationFrame(() => app.root.querySelector("#usage-filter-by")?.focus())
}

function look(app, own) {
  const {adding} = own
  app.call("usage.values", {query: app.route.query.toString(), dimension: adding.dimension, prefix: adding.text}).then((answer) => {
    if (own.adding !== adding) return
    adding.values = answer.values
    app.render()
  }, (error) => app.toast(error.message, "bad"))
  app.render()
}

function adding(app, own, topic) {
  const {adding: now} = own
  const stop = () => { own.adding = null; app.render() }
  const pick = (value) => {
    const {dimension} = own.adding
    own.adding = null
    if (!values(app, dimension).includes(value)) flip(app, dimension, value)
    else app.render()
  }
  const known = (now.values || []).map((value) => value ?? "")
  return h("span", {class: "adding", key: "adding", onkeydown: (event) => event.key === "Escape" && (event.stopPropagation(), stop())},
    h("select", {id: "usage-filter-by", "aria-label": "Filter by", value: now.dimension, onchange: (event) => { own.adding = {dimension: event.target.value, values: null, text: ""}; look(app, own) }},
      topic.dimensions.map(([name, title]) => h("option", {key: name, value: name, selected: name === now.dimension}, title))),
    h("input", {id: "usage-filter-value", type: "search", "aria-label": "Value", placeholder: now.values && !now.values.length && !now.text ? "There is none" : "Value …", list: "usage-values", value: now.text, autocomplete: "off",
      oninput: (event) => {
        own.adding.text = event.target.value // what is being added now, which may be newer than what was drawn
        if (known.includes(own.adding.text) && event.inputType !== "insertText" && event.inputType !== "deleteContentBackward") {
          pick(own.adding.text)
          return
        }
        clearTimeout(own.typing)
        own.typing = setTimeout(() => own.adding && look(app, own), TYPING_MS)
      },
      onkeydown: (event) => { if (event.key === "Enter" && own.adding.text) pick(own.adding.text) }}),
    h("datalist", {id: "usage-values"}, known.filter(Boolean).map((value) => h("option", {key: value, value}))),
    h("button", {type: "button", class: "button", disabled: !now.text, onclick: () => pick(now.text)}, "Add"),
    h("button", {type: "button", class: "button quiet square", "aria-label": "Leave filters as they are", onclick: stop}, icon("close")))
}

const shift = (day, by) => new Date(Date.parse(`${day}T00:00:00Z`) + by * 86400000).toISOString().slice(0, 10)
const dayAfter = (day) => shift(day, 1)
const dayBefore = (day) => shift(day, -1)
