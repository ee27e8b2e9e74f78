// What the history is asked: window, removable pills, a way to add one, and filters that are kept under a name.
import {h} from "../dom.js"
import {JOB_STATES} from "../format.js"
import {editFilter, saveFilter} from "./marks.js"
import {LISTS, RANGES, USUAL_WINDOW, WINDOWS, anyFilter, list, pills, question, withValue, without} from "./words.js"
import {icon} from "../icons.js"
import {toggle} from "../ui.js"

const TYPING_MS = 300
const CHOICES_MS = 150

export function filters(app, own) {
  const {query} = app.route
  const set = (changes) => app.query({...changes, after: null, before: null}, {replace: true})
  return h("section", {class: "block filters history-filters", "aria-label": "Filters", key: "filters"},
    windows(app, own, query, set), chosen(app, own, query, set), own.adding ? editor(app, own, query, set) : null, saved(app, own, query))
}

// -- window and name -----------------------------------------------------------------------------------------

function windows(app, own, query, set) {
  const dated = !!(query.get("since") || query.get("until"))
  const current = dated ? "" : query.get("window") || USUAL_WINDOW
  return h("div", {class: "filter", role: "group", "aria-label": "Ended", key: "window"}, h("span", {class: "filter-label"}, "Ended"),
    WINDOWS.map(([name, words]) => h("span", {class: "pill-wrap", key: name}, toggle(words, name === current, () => {
      own.dates = false
      set({window: name === USUAL_WINDOW ? null : name, since: null, until: null})
    }))),
    h("span", {class: "pill-wrap", key: "dates"}, toggle("Dates …", dated || !!own.dates, () => { own.dates = !own.dates; app.render() })),
    own.dates || dated ? dates(query, set) : null,
    h("span", {class: "find", key: "find"}, icon("search"), h("input", {type: "search", "aria-label": "Find in the names of jobs", placeholder: "In the name …", value: query.get("name") || "",
      oninput: (event) => {
        clearTimeout(own.typing)
        const name = event.target.value.trim().slice(0, 200)
        own.typing = setTimeout(() => set({name}), TYPING_MS)
      }})))
}

function dates(query, set) {
  const day = (name, label) => h("label", {class: "date", key: name}, h("span", {class: "quiet-text"}, label),
    written(query.get(name)), h("input", {type: "date", value: isDay(query.get(name)) ? query.get(name) : "", "aria-label": `${label} this day`, onchange: (event) => set({[name]: event.target.value, window: null})}))
  return h("span", {class: "dates", key: "days"}, day("since", "From"), day("until", "Before"))
}

const isDay = (word) => /^\d{4}-\d\d-\d\d$/.test(word || "")
/** What no field for a day can show: 2026-11, now-30days. */
const written = (word) => (word && !isDay(word) ? h("strong", {}, word) : null)

// -- pills ---------------------------------------------------------------------------------------------------

function chosen(app, own, query, set) {
  const add = (name) => {
    own.adding = name ? {name, text: "", values: [], least: "", most: ""} : null
    if (name) choices(app, own)
    app.render()
  }
  const all = !query.get("who") || query.get("who") !== "all"
  const names = [...Object.keys(LISTS), ...Object.keys(RANGES)].filter((name) => !(all && name === "user"))
  return h("div", {class: "filter", role: "group", "aria-label": "Only", key: "chosen"}, h("span", {class: "filter-label"}, "Only"),
    pills(query).map(([name, value, title, words]) =>
      h("button", {type: "button", class: "pill", key: `${name}-${value}`, "aria-pressed": "true", "aria-label": `Remove filter ${title}: ${words}`, onclick: () => { set(without(query, name, value)); toPicker(app) }},
        h("span", {class: "pill-name"}, `${title}: `), words, h("span", {"aria-hidden": "true"}, "✕"))),
    h("span", {class: "picker", key: "add"}, h("select", {"aria-label": "Add a filter", value: own.adding?.name || "", onchange: (event) => add(event.target.value)},
      h("option", {value: ""}, "Add a filter …"),
      names.map((name) => h("option", {key: name, value: name}, (LISTS[name] || RANGES[name]).title)))),
    anyFilter(query) ? h("button", {type: "button", class: "button quiet clear", key: "clear", onclick: () => {
      own.adding = null
      set(Object.fromEntries([...names, "user", "name"].map((name) => [name, null])))
    }}, icon("close"), "Clear filters") : null)
}

/** What had the focus is gone: it goes to where the next filter is chosen. */
const toPicker = (app) => requestAnimationFrame(() => {
  if (document.activeElement === document.body) app.root.querySelector(".history-filters .picker select")?.focus()
})

function choices(app, own) {
  const {adding} = own
  const of = LISTS[adding.name]?.of
  if (!of) return
  app.call("jobs.choices", {of, text: adding.text.slice(0, 100)}).then((answer) => {
    if (own.adding !== adding) return
    adding.values = answer.values
    app.render()
  }, () => {}) // without suggestions one still types
}

function editor(app, own, query, set) {
  const {adding} = own
  const close = () => { own.adding = null; app.render(); toPicker(app) }
  const {title, hint} = LISTS[adding.name] || RANGES[adding.name]
  const frame = (...content) => h("form", {class: "filter editor", "aria-label": `Filter by ${title}`, key: `edit-${adding.name}`,
    onsubmit: (event) => { event.preventDefault(); apply() },
    onkeydown: (event) => { if (event.key === "Escape") { event.stopPropagation(); close() } }},
    h("span", {class: "filter-label"}, title), content, hint ? h("span", {class: "hint"}, hint) : null,
    h("button", {type: "button", class: "button quiet", onclick: close}, "Done"))
  const apply = () => {
    if (adding.name in RANGES) {
      const value = adding.least === adding.most ? adding.least : `${adding.least}..${adding.most}`
      if (value && value !== "..") set({[adding.name]: value})
      close()
    } else if (adding.text.trim()) {
      set(withValue(query, adding.name, adding.text.trim()))
      adding.text = ""
      app.render()
    }
  }
  if (adding.name === "state") {
    const states = list(query, "state").map((name) => name.toUpperCase())
    return frame(Object.entries(JOB_STATES).map(([name, look]) => h("span", {class: "pill-wrap", key: name},
      toggle(look[2], states.includes(name), () => set(states.includes(name) ? without(query, "state", name) : withValue(query, "state", name))))))
  }
  const focus = (el) => queueMicrotask(() => el.focus())
  if (adding.name in RANGES) {
    const {unit} = RANGES[adding.name]
    const end = (side, label) => h("input", {type: "text", key: side, class: "short-input", "aria-label": `${title}, ${label}`, placeholder: label, value: adding[side], inputmode: adding.name === "wall" ? undefined : "decimal",
      onmount: side === "least" ? focus : undefined, oninput: (event) => { adding[side] = event.target.value.trim() }})
    return frame(end("least", "at least"), end("most", "at most"), unit ? h("span", {class: "quiet-text"}, unit) : null, h("button", {type: "submit", class: "button primary"}, "Add"))
  }
  const there = list(query, adding.name)
  const offered = adding.values.filter((value) => !there.includes(value))
  return frame(
    h("input", {type: "text", class: "short-input value-input", "aria-label": title, placeholder: title, value: adding.text, onmount: focus, oninput: (event) => {
      adding.text = event.target.value
      clearTimeout(own.choosing)
      own.choosing = setTimeout(() => choices(app, own), CHOICES_MS)
    }}),
    h("button", {type: "submit", class: "button primary"}, "Add"),
    offered.map((value) => h("button", {type: "button", class: "pill", key: value, onclick: () => set(withValue(query, adding.name, value))}, value)))
}

// -- saved filters -------------------------------------------------------------------------------------------

function saved(app, own, query) {
  const here = question(query, {place: false})
  const kept = own.filters || []
  if (!kept.length && !here) return null
  const same = kept.find((filter) => normal(filter.query) === normal(here))
  return h("div", {class: "filter", role: "group", "aria-label": "Saved filters", key: "saved"}, h("span", {class: "filter-label"}, "Saved"),
    kept.map((filter) => h("span", {class: "saved-filter", key: filter.id},
      h("button", {type: "button", class: "pill", "aria-pressed": String(filter === same), onclick: () => app.go(`/jobs?view=history${filter.query ? "&" + filter.query : ""}`)},
        filter.start ? h("span", {title: "The Jobs page begins with it", "aria-hidden": "true"}, "★") : null, filter.name),
      h("button", {type: "button", class: "button quiet square small", "aria-label": `Change filter ${filter.name}`, title: "Rename, begin with it, delete", onclick: () => editFilter(app, own, filter)}, "⋯"))),
    same || !here ? null : h("button", {type: "button", class: "button quiet", key: "save", onclick: () => saveFilter(app, own, here)}, icon("save"), "Save these filters"))
}

function normal(text) {
  const words = new URLSearchParams(text)
  words.sort()
  return words.toString()
}
