// Reports: questions that are kept. The list, one opened, and what went wrong with its mails; forms are apart.
import {h} from "./dom.js"
import {count, full, many, when} from "./format.js"
import {icon} from "./icons.js"
import {chartView, legend, Stage} from "./usage/chart.js"
import {embedding} from "./embedding.js"
import {editForm, scheduleForm} from "./forms/report.js"
import {badge, empty, go, skeleton} from "./ui.js"

export const title = "Reports"
export const topics = () => ["mine"]

const LOOK_MS = 30000 // mails go out while one looks
const FORMATS = ["xlsx", "csv", "parquet", "json", "pdf"]
const NAMES = {xlsx: "Excel", csv: "CSV", parquet: "Parquet", json: "JSON", pdf: "PDF"}

const state = (app) => (app.state.reports ??= {
  list: null, error: "", open: null, openError: "", asked: "", timer: 0, gone: [], stage: new Stage(() => {}),
})

const chosen = (app) => app.route.query.get("report") || ""
const dark = (app) => app.theme.dark

export function enter(app) {
  const own = state(app)
  own.asked = ""
  refresh(app)
  moved(app)
  clearInterval(own.timer)
  own.timer = setInterval(() => refresh(app), LOOK_MS)
}

export function moved(app) {
  const own = state(app)
  const id = chosen(app)
  const key = id && `${id} ${dark(app)}`
  if (own.asked === key) return
  if (!own.asked.startsWith(id) || !id) own.open = null
  own.asked = key
  own.openError = ""
  if (id) look(app, key, id)
}

export function leave(app) {
  clearInterval(state(app).timer)
}

function look(app, key, id) {
  const own = state(app)
  const width = Math.round(Math.min(1300, Math.max(300, (app.root.querySelector("#content")?.clientWidth || 900) - 80)))
  app.call("reports.open", {id, dark: dark(app), width}).then((answer) => {
    if (own.asked !== key) return
    own.open = answer
    app.render()
  }, (error) => {
    if (own.asked !== key) return
    own.openError = error.message
    app.render()
  })
}

export function refresh(app) {
  const own = state(app)
  app.call("reports.list").then((answer) => {
    own.list = answer
    own.error = ""
    app.render()
  }, (error) => {
    own.error = error.message
    app.render()
  })
}

/** A report has changed: show it as the server has it now. */
export function changed(app, report) {
  const own = state(app)
  app.closeDialog()
  if (own.list) own.list.reports = [...own.list.reports.filter((each) => each.id !== report.id), report].sort(order)
  own.asked = ""
  refresh(app)
  moved(app)
  app.render()
}

const order = (a, b) => Number(b.own) - Number(a.own) || a.name.localeCompare(b.name)

export function view(app) {
  const own = state(app)
  const id = chosen(app)
  if (id && own.asked && own.asked !== `${id} ${dark(app)}`) queueMicrotask(() => moved(app))
  return {body: [head(app, own, id), undo(app, own), id ? opened(app, own, id) : list(app, own)]}
}

function head(app, own, id) {
  const sub = id ? null : own.list ? (own.list.reports.length ? many(own.list.reports.length, "report") : "None kept yet") : " "
  return h("div", {class: "head", key: "head"}, h("h1", {}, "Reports"), sub ? h("p", {class: "sub"}, sub) : null,
    h("div", {class: "head-tools"},
      id ? go(app, "/reports", {class: "button"}, icon("table"), "All reports") : null,
      own.list && !id ? h("button", {type: "button", class: "button", onclick: () => embedding(app)}, icon("link"), "Embeds") : null,
      own.list ? h("button", {type: "button", class: "button primary", onclick: () => editForm(app, own.list, null, changed)}, icon("report"), "New report") : null))
}

/** What was just deleted can be had back. */
function undo(app, own) {
  return own.gone.map((report) => h("div", {class: "banner info", role: "status", key: `gone-${report.id}`}, icon("info"),
    h("span", {}, `“${report.name}” is deleted${report.schedules.length ? "; nothing of it goes out any more" : ""}.`),
    h("button", {type: "button", class: "button small-text", onclick: () => app.call("reports.restore", {id: report.id}).then((back) => {
      own.gone = own.gone.filter((each) => each.id !== report.id)
      changed(app, back)
      app.say("It is back.")
    }, (error) => app.toast(error.message, "bad"))}, icon("again"), "Undo")))
}

function remove(app, report) {
  const own = state(app)
  app.call("reports.delete", {id: report.id}).then(() => {
    own.gone = [...own.gone.filter((each) => each.id !== report.id), report].slice(-3)
    if (own.list) own.list.reports = own.list.reports.filter((each) => each.id !== report.id)
    app.say(`“${report.name}” is deleted. It can be brought back.`)
    if (chosen(app) === report.id) app.go("/reports")
    app.render()
  }, (error) => app.toast(error.message, "bad"))
}

// -- the list ------------------------------------------------------------------------------------------------

function list(app, own) {
  if (own.error) return h("section", {class: "block", key: "list"}, empty("The reports can’t be shown", own.error))
  if (!own.list) return h("section", {class: "block", key: "list"}, skeleton(8))
  if (!own.list.reports.length) {
    return h("section", {class: "block", key: "list"}, empty("No reports yet",
      "A report keeps a question, such as the GPU hours of each person last month. It is asked anew whenever it is opened, and can be mailed on the first of each month.",
      h("p", {}, h("button", {type: "button", class: "button primary", onclick: () => editForm(app, own.list, null, changed)}, "Make the first one"))))
  }
  return h("section", {class: "block table-block", "aria-label": "Reports", key: "list"},
    h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of reports"},
      h("table", {class: "table stack reports"},
        h("thead", {}, h("tr", {}, ["Report", "Window", "Shown to", "Goes out"].map((name) => h("th", {scope: "col", key: name}, name)), h("th", {scope: "col", key: "do"}, h("span", {class: "unseen"}, "Actions")))),
        h("tbody", {}, own.list.reports.map((report) => line(app, own, report))))))
}

function line(app, own, report) {
  return h("tr", {key: report.id},
    h("th", {scope: "row"}, go(app, `/reports?report=${report.id}`, {class: "report-name"}, report.name), h("span", {class: "report-words"}, report.words)),
    h("td", {"data-label": "Window"}, report.window),
    h("td", {"data-label": "Shown to"}, shownTo(report)),
    h("td", {"data-label": "Goes out"}, report.schedules.length ? report.schedules.map((each) => fate(each)) : h("span", {class: "quiet-text"}, report.own ? "–" : "")),
    h("td", {class: "report-do"},
      report.own ? h("button", {type: "button", class: "button quiet square", "aria-label": `Change ${report.name}`, title: "Change", onclick: () => editForm(app, own.list, report, changed)}, icon("log")) : null,
      report.may_delete ? h("button", {type: "button", class: "button quiet square", "aria-label": `Delete ${report.name}`, title: "Delete", onclick: () => remove(app, report)}, icon("remove")) : null))
}

const shownTo = (report) => {
  if (!report.own) return ["by ", h("strong", {}, report.owner)]
  return {private: "only you", account: `people of ${report.account}`, everyone: "everyone"}[report.visibility]
}

/** A schedule in a line: when next, or what is wrong. */
function fate(schedule) {
  const words = `${schedule.words}, ${schedule.way === "mail" ? "by mail" : "into the folder"}`
  const look = schedule.stopped ? ["bad", "✕", "Stopped"] : !schedule.active ? ["over", "‖", "Off"]
    : schedule.error ? ["bad", "✕", "Failed"] : schedule.done_s ? ["good", "✓", "Sent"] : ["wait", "◷", "Waiting"]
  return h("div", {class: "fate", key: schedule.id}, badge(look), h("span", {}, words),
    schedule.stopped ? h("span", {class: "why"}, schedule.stopped) : schedule.error ? h("span", {class: "why"}, schedule.error) : null)
}

// -- one report ----------------------------------------------------------------------------------------------

function opened(app, own, id) {
  if (own.openError) return h("section", {class: "block", key: "open"}, empty("This report can’t be shown", own.openError, h("p", {}, go(app, "/reports", {class: "button"}, "All reports"))))
  const report = own.open
  if (!report || report.id !== id) return h("section", {class: "block", key: "open"}, skeleton(12))
  return [
    h("section", {class: "block report-head", "aria-label": "Report", key: "open-head"},
      h("div", {class: "report-title"}, h("h2", {}, report.name),
        h("div", {class: "head-tools"},
          h("button", {type: "button", class: "button", onclick: () => embedding(app, report)}, icon("link"), "Embed"),
          report.own ? h("button", {type: "button", class: "button", onclick: () => own.list && editForm(app, own.list, report, changed)}, icon("log"), "Change") : null,
          report.may_delete ? h("button", {type: "button", class: "button danger", onclick: () => remove(app, report)}, icon("remove"), "Delete") : null)),
      h("p", {}, report.words),
      h("p", {class: "sub"}, `${report.window}: ${full(report.since_s)} until ${full(report.until_s)} (${report.zone}). ${report.scope}. `, report.as_of_s ? `Known until ${full(report.as_of_s)}.` : "No accounts are known yet.", report.own ? "" : ` Kept by ${report.owner}; you see what you may see.`),
      h("dl", {class: "big-figures", key: "totals"}, report.totals.map(([name, value], index) => h("div", {class: "big-figure" + (index ? "" : " main"), key: name}, h("dt", {}, name), h("dd", {class: "big num"}, value))))),
    report.picture ? h("section", {class: "block", "aria-label": "Chart", key: "open-chart"}, h("h2", {}, report.totals[0][0]), chartView(own, report.picture), legend(app, report.picture, () => {})) : null,
    figures(app, report),
    report.own ? schedules(app, own, report) : null,
  ]
}

function figures(app, report) {
  const {heads, rows, count: all} = report.table
  return h("section", {class: "block", "aria-label": "Figures", key: "open-table"},
    h("div", {class: "report-title"}, h("h2", {}, "Figures"),
      h("div", {class: "head-tools report-files"}, FORMATS.map((format) => h("a", {class: "button", key: format, href: `/downloads/report.${format}?id=${report.id}`, download: "", "aria-label": `Download as ${NAMES[format]}`}, icon("save"), NAMES[format])))),
    rows.length ? h("div", {class: "table-wrap tall-twin", tabindex: "0", role: "region", "aria-label": "The report’s figures"},
      h("table", {class: "table figures"},
        h("thead", {}, h("tr", {}, heads.map(([name, numeric], at) => h("th", {scope: "col", key: `${at}`, class: numeric ? "right" : undefined}, name)))),
        h("tbody", {}, rows.map((row, index) => h("tr", {key: `r${index}`}, row.map((cell, at) =>
          at === 0 && !heads[0][1] ? h("th", {scope: "row", key: "0"}, cell) : h("td", {key: `${at}`, class: heads[at][1] ? "num right" : undefined}, cell)))))))
      : empty("No jobs in this window", "The figures come with the jobs."),
    all > rows.length ? h("p", {class: "sub"}, `The first ${count(rows.length)} of ${count(all)} rows; a file has all of them.`) : null,
    report.notes.map((note, index) => h("p", {class: "sub", key: `n${index}`}, note)),
    h("details", {class: "report-methods"}, h("summary", {}, "How the figures are made"), h("dl", {class: "facts"}, report.methods.map(([name, note]) => h("div", {key: name}, h("dt", {}, name), h("dd", {}, note))))))
}

function schedules(app, own, report) {
  const kept = own.list?.reports.find((each) => each.id === report.id)?.schedules || report.schedules
  const act = (action, args, said) => app.call(`reports.${action}`, {id: report.id, ...args}).then((answer) => {
    changed(app, answer)
    app.say(said)
  }, (error) => app.toast(error.message, "bad"))
  const able = own.list && (own.list.mail || own.list.may_file)
  return h("section", {class: "block", "aria-label": "Goes out by itself", key: "open-schedules"},
    h("div", {class: "report-title"}, h("h2", {}, "Goes out by itself"),
      able ? h("button", {type: "button", class: "button", onclick: () => scheduleForm(app, own.list, report, null, changed)}, icon("bell"), "Schedule") : null),
    own.list && !able ? h("p", {class: "sub"}, "This console sends no mail. An operator can set mail.host in its settings.") : null,
    kept.length ? h("ul", {class: "schedules"}, kept.map((each) => h("li", {key: each.id},
      h("div", {class: "schedule-words"}, fate(each),
        h("span", {class: "sub"}, where(own, each), each.active ? ` Next: ${full(each.retry_s || each.due_s)}${each.retry_s ? `, try ${each.tries + 1}` : ""}.` : "", each.done_s ? ` Last sent ${when(each.done_s)}.` : "", each.error_s ? ` Failed ${when(each.error_s)}.` : "")),
      h("div", {class: "head-tools"},
        h("button", {type: "button", class: "button", onclick: () => act("switch", {schedule: each.id, active: !each.active}, each.active ? "Switched off." : "Switched on.")}, each.active ? "Switch off" : "Switch on"),
        h("button", {type: "button", class: "button", onclick: () => scheduleForm(app, own.list, report, each, changed)}, "Change"),
        h("button", {type: "button", class: "button quiet square", "aria-label": `Remove: ${each.words}`, title: "Remove", onclick: () => act("unschedule", {schedule: each.id}, "Removed.")}, icon("remove"))))))
      : able ? h("p", {class: "sub"}, "Nothing yet. It can be mailed to you, for example on the 1st of each month with the month before.") : null)
}

const where = (own, schedule) => schedule.way === "folder"
  ? `${NAMES[schedule.format]} into ${own.list?.folder || "the site’s folder"}.`
  : `${NAMES[schedule.format]} to ${schedule.addresses.join(", ") || own.list?.own_mail || "you"}.`
