// Usage: who used what, when and how well. The address is the whole state; the server answers with a picture of it.
import {h} from "./dom.js"
import {count, full, now, percent, span, when} from "./format.js"
import {icon} from "./icons.js"
import {empty, skeleton} from "./ui.js"
import {asked, flip, to, values} from "./usage/address.js"
import {Stage, chartView, legend, twin} from "./usage/chart.js"
import {controls, kinds, presetRow, whose} from "./usage/controls.js"
import {drillDrawer, look, open} from "./usage/drill.js"
import {downloadMenu} from "./usage/files.js"

export const title = "Usage"
export const topics = () => ["usage"]

const LATE_S = 900 // accounts of a source that is read every minute
const WIDER_PX = 60 // a chart is drawn anew when the page has become so much wider
const SIDES_PX = 34

const state = (app) => (app.state.usage ??= fresh(app))

function fresh(app) {
  const own = {answer: null, figures: null, error: "", key: "", asked: "", dates: null, adding: null, drill: null, drillKey: "", generation: -1, redraw: () => app.render()}
  own.stage = new Stage((cell) => open(app, cell))
  own.resized = () => {
    clearTimeout(own.resizing)
    own.resizing = setTimeout(() => Math.abs(width(app) - own.width) > WIDER_PX && ask(app, true), 200)
  }
  return own
}

export function enter(app) {
  const own = state(app)
  own.generation = app.topic("usage")?.generation ?? -1
  own.projects = app.topic("usage")?.projects
  addEventListener("resize", own.resized)
  ask(app)
  look(app, own)
}

export function moved(app) {
  const own = state(app)
  own.saving = false
  ask(app)
  look(app, own)
}

export function leave(app) {
  removeEventListener("resize", state(app).resized)
}

export function arrived(app, topic) {
  if (topic !== "usage") return
  const own = state(app)
  const {generation, projects} = app.topic("usage")
  if (own.generation === generation && own.projects === projects) return
  const first = own.generation < 0
  own.generation = generation
  own.projects = projects
  if (!first || !own.asked) {
    ask(app, true)
    look(app, own, true)
  }
}

function width(app) {
  const page = app.root.querySelector("#content")
  if (!page) return 900
  const style = getComputedStyle(page)
  return Math.round(Math.min(1320, page.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)) - SIDES_PX)
}

function ask(app, again = false) {
  const own = state(app)
  const query = asked(app)
  const {dark} = app.theme
  const key = `${query}|${dark}`
  if (own.asked === key && !again) return
  own.asked = key
  own.width = width(app)
  const same = own.figuresQuery === query
  app.call("usage.show", {query, dark, width: own.width}).then((answer) => {
    if (own.asked !== key) return
    Object.assign(own, {answer, error: "", key})
    app.render()
  }, (error) => {
    if (own.asked !== key) return
    own.error = error.message
    own.key = key
    app.render()
  })
  if (same && !again) return
  own.figuresQuery = query
  app.call("usage.figures", {query}).then((figures) => {
    if (own.figuresQuery !== query) return
    own.figures = figures
    app.render()
  }, () => {
    if (own.figuresQuery === query) own.figuresQuery = "" // the picture says what is wrong
  })
}

/** What the controls show: as the server understood the address, or for a moment as it stands there. */
function understood(app, own, topic) {
  const {query} = app.route
  const known = own.answer?.view
  const who = query.get("who") || app.boot.usage_who[app.boot.usage_who.length - 1]
  const by = query.get("by") ?? (who === "mine" ? "account" : "user")
  return {
    since: known?.since || "", until: known?.until || "", words: known?.words || "", zone: known?.zone || app.boot.zone,
    metric: query.get("metric") || topic.metric, by: by === "none" ? "" : by, chart: query.get("chart") || "time", who,
    window: query.get("since") && query.get("until") ? "" : query.get("window") || "30d",
    grain: query.get("grain") || "", compare: query.get("compare") === "1",
    where: topic.dimensions.map(([name]) => [name, values(app, name)]).filter(([, list]) => list.length),
  }
}

export function view(app) {
  const own = state(app)
  const topic = app.topic("usage")
  const head = (sub, tools) => h("div", {class: "head", key: "head"}, h("h1", {}, "Usage"), h("p", {class: "sub", role: "status"}, sub || " "), tools ? h("div", {class: "head-tools"}, tools) : null)
  if (!topic) return {body: [head(), h("section", {class: "block", key: "first"}, skeleton(10))]}
  if (!topic.rows) return {body: [head(), ...banners(app, topic), h("section", {class: "block", key: "none"}, nothingYet(app, topic))]}
  if (own.answer && own.asked === own.key && own.key.endsWith(String(!app.theme.dark))) queueMicrotask(() => ask(app))
  const asks = understood(app, own, topic)
  return {
    body: [
      head(own.answer && !own.error ? own.answer.title : "", whose(app, asks)),
      ...banners(app, topic),
      presetRow(app, topic),
      controls(app, own, topic, asks),
      own.error ? h("section", {class: "block", key: "wrong"}, empty("This can’t be shown", own.error, h("button", {type: "button", class: "button", onclick: () => app.go("/usage")}, "Begin anew"))) : [
        figures(app, own, asks),
        picture(app, own, asks),
        breakdown(app, own, asks),
      ],
    ],
    over: drillDrawer(app, own),
  }
}

// -- what is known -----------------------------------------------------------------------------------------

function banners(app, topic) {
  const banner = (key, tone, ...words) => h("div", {class: `banner ${tone}`, role: "status", key}, icon(tone === "info" ? "info" : "warn"), h("span", {}, words))
  return topic.clusters.map((cluster) => {
    const name = topic.clusters.length > 1 ? `The accounts of ${cluster.name}` : "The accounts"
    if (cluster.progress !== null) {
      return h("div", {class: "banner info loading", role: "status", key: `load-${cluster.name}`}, icon("info"),
        h("span", {}, `${name} are being read for the first time: ${percent(cluster.progress, 1)} %, ${count(cluster.rows)} jobs so far. Figures are incomplete until then.`),
        h("span", {class: "load-bar", role: "progressbar", "aria-label": "First load", "aria-valuenow": String(percent(cluster.progress, 1)), "aria-valuemin": "0", "aria-valuemax": "100"}, h("i", {style: {width: `${100 * cluster.progress}%`}})))
    }
    if (cluster.error) return banner(`error-${cluster.name}`, "wait", `${name} could not be read since ${when(cluster.error_since_s)}; shown ${cluster.synced_s ? `as of ${full(cluster.synced_s)}` : "is what there is"}: `, cluster.error)
    if (cluster.source !== "sacct" && cluster.synced_s !== null && now() - cluster.synced_s > LATE_S) return banner(`late-${cluster.name}`, "wait", `${name} are as of ${full(cluster.synced_s)}. Nothing new for ${span(now() - cluster.synced_s)}.`)
    return null
  }).filter(Boolean)
}

function nothingYet(app, topic) {
  const helps = app.boot.viewer.roles.some((role) => role === "admin" || role === "operator")
  if (topic.clusters.some((cluster) => cluster.progress !== null)) return empty("The accounts are being read", "The first figures show as soon as the first jobs are in.")
  if (topic.clusters.some((cluster) => cluster.error)) return empty("No figures yet", "The accounts have not been read yet; the console tries again by itself.")
  if (topic.source === "import" && !topic.clusters.length) {
    return helps
      ? empty("No accounts yet", ["Give the console a read-only account on slurmdbd’s database (", h("code", {}, "slurmdbd.user"), " and ", h("code", {}, "slurmdbd.password_file"), " in its settings), or bring in what ", h("code", {}, "sacct"), " prints: ", h("code", {}, "carme import-sacct FILE"), ". ", h("code", {}, "carme doctor"), " says what is missing."])
      : empty("No accounts yet", "The console has not been connected to the accounting of this cluster. Those who run it can do that.")
  }
  return empty("No jobs yet", "Figures show here about a minute after the first job.")
}

// -- the figures -------------------------------------------------------------------------------------------

function figures(app, own, asks) {
  const {figures: known} = own
  if (!known) return h("section", {class: "block usage-figures", "aria-label": "Totals", key: "figures"}, h("div", {class: "figure-space"}, skeleton(2)))
  const waiting = own.figuresQuery !== asked(app)
  return h("section", {class: "block usage-figures" + (waiting ? " waiting" : ""), "aria-label": "Totals", key: "figures"},
    h("dl", {class: "big-figures"}, known.figures.map((figure) => h("div", {key: figure.name, class: "big-figure" + (figure.name === known.main ? " main" : "")},
      h("dt", {}, h("button", {type: "button", class: "as-link", title: figure.name === known.main ? figure.method : `Look at ${figure.title}`, onclick: () => to(app, {metric: figure.name, sort: null})}, figure.title)),
      h("dd", {class: "big num", title: figure.exact ?? undefined}, figure.text),
      h("dd", {class: "change num"}, figure.change === null ? h("span", {class: "quiet-text"}, figure.before === "–" ? " " : `before: ${figure.before}`)
        : [h("span", {class: `trend ${figure.up === null ? "same" : figure.up ? "up" : "down"}`}, h("span", {"aria-hidden": "true"}, figure.up === null ? "▬ " : figure.up ? "▲ " : "▼ "), figure.change), h("span", {class: "quiet-text"}, ` from ${figure.before}`)])))),
    h("p", {class: "quiet-text against"}, known.so_far ? h("span", {class: "tag", title: known.notes.find((text) => text.includes("still run"))}, "so far") : null, h("span", {}, known.against)))
}

function picture(app, own, asks) {
  const {answer} = own
  const table = app.route.query.get("table") === "1"
  const waiting = !!answer && own.asked !== own.key
  const pick = (cell) => open(app, cell)
  return h("section", {class: "block usage-picture" + (waiting ? " waiting" : ""), "aria-labelledby": "usage-picture", "aria-busy": String(waiting), key: "picture"},
    h("div", {class: "block-head"}, h("h2", {id: "usage-picture", class: "said"}, "Chart"),
      kinds(app, asks),
      h("div", {class: "head-tools"},
        h("div", {class: "segmented", role: "group", "aria-label": "Show as"},
          h("button", {type: "button", "aria-pressed": String(!table), onclick: () => to(app, {table: null}, {replace: true})}, icon("chart"), "Chart"),
          h("button", {type: "button", "aria-pressed": String(table), onclick: () => to(app, {table: "1"}, {replace: true})}, icon("table"), "Table")))),
    table ? twin(own, answer?.chart, pick) : [chartView(own, answer?.chart, asks.window === "all" ? null : h("button", {type: "button", class: "button", onclick: () => to(app, {window: "all", since: null, until: null, grain: null})}, "Look at everything")), legend(app, answer?.chart, pick), answer?.chart.notes?.length ? h("p", {class: "quiet-text chart-notes", key: "notes"}, answer.chart.notes.join(" ")) : null],
    answer ? about(app, own, answer) : null)
}

function about(app, own, answer) {
  const live = own.figures?.so_far
  return h("div", {class: "chart-about", key: "about"},
    h("span", {class: "num"}, answer.as_of ? `As of ${answer.as_of}` : ""),
    live ? h("span", {}, "running jobs so far") : null,
    h("span", {}, answer.view.zone),
    answer.view.definitions === "xdmod" ? h("span", {class: "tag"}, "Open XDMoD’s definitions") : null,
    h("button", {type: "button", class: "button quiet small-text", onclick: () => explain(app, own, answer)}, icon("info"), "How this is counted"),
    h("span", {class: "grow"}),
    answer.chart.refused ? null : downloadMenu(app, own),
    (app.usageActions || []).map((action, index) => h("span", {key: `action-${index}`, class: "pill-wrap"}, action(app, own))))
}

function explain(app, own, answer) {
  const notes = [...new Set([...answer.notes, ...(answer.chart.notes || []), ...(own.figures?.notes || [])])]
  app.ask(() => ({
    key: "method", title: answer.title, onclose: () => app.closeDialog(), wide: true,
    body: [
      answer.methods.map(([name, text]) => h("div", {key: name, class: "method-note"}, h("h3", {}, name), h("p", {}, text))),
      notes.length ? h("div", {key: "notes", class: "method-note"}, h("h3", {}, "To be known"), h("ul", {class: "plain"}, notes.map((text) => h("li", {key: text}, text)))) : null,
      h("div", {key: "window", class: "method-note"}, h("h3", {}, "Window"), h("p", {}, `${answer.view.words}, days of ${answer.view.zone}. ${answer.as_of ? `The accounts are known until ${answer.as_of}.` : ""}`)),
    ],
    actions: [h("button", {type: "button", class: "button", "data-first": "", onclick: () => app.closeDialog()}, "Close")],
  }))
}

function breakdown(app, own, asks) {
  const table = own.answer?.breakdown
  if (!table || own.answer.chart.refused) return null
  const waiting = own.asked !== own.key
  const sort = (name, numeric) => {
    const down = table.sort.replace(/^-/, "") === name ? !table.sort.startsWith("-") : numeric
    to(app, {sort: (down ? "-" : "") + name}, {replace: true})
  }
  const by = table.columns[0]
  return h("section", {class: "block table-block" + (waiting ? " waiting" : ""), "aria-label": `By ${by[1]}`, key: "breakdown"},
    h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": `Table by ${by[1]}`},
      h("table", {class: "table figures"},
        h("thead", {}, h("tr", {}, table.columns.map(([name, title, numeric]) => {
          const on = table.sort.replace(/^-/, "") === name
          const down = table.sort.startsWith("-")
          return h("th", {scope: "col", key: name, class: numeric ? "right" : undefined, "aria-sort": on ? (down ? "descending" : "ascending") : "none"},
            h("button", {type: "button", class: "sorter", onclick: () => sort(name, numeric)}, title, h("span", {"aria-hidden": "true"}, on ? (down ? " ↓" : " ↑") : "")))
        }))),
        h("tbody", {}, table.rows.map((row) => h("tr", {key: `${row.value}`},
          h("th", {scope: "row", key: "name"}, h("button", {type: "button", class: "as-link", title: `Only ${row.name}`, onclick: () => values(app, by[0]).includes(row.value) || flip(app, by[0], row.value)}, h("span", {class: "clip"}, row.name))),
          row.cells.map((text, index) => h("td", {key: `${index}`, class: "num right"}, index === 0 && row.cell ? h("button", {type: "button", class: "as-link", title: "Jobs behind it", onclick: () => open(app, row.cell)}, text) : text))))))),
    table.hidden || app.route.query.get("rows") === "all" ? h("div", {class: "pager", key: "rest"},
      h("span", {class: "num quiet-text"}, `${count(table.rows.length)} of ${count(table.count)}`),
      h("button", {type: "button", class: "button", onclick: () => to(app, {rows: table.hidden ? "all" : null}, {replace: true})}, table.hidden ? `Show ${table.count > 2000 ? "2,000" : "all"}` : "Show fewer")) : null)
}
