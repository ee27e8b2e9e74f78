// Budgets: what accounts may use, have used and are likely to use; one of them as a burn-down; and the price list.
import {h} from "./dom.js"
import {full, many, when} from "./format.js"
import {icon} from "./icons.js"
import {chartView, legend, Stage, twin} from "./usage/chart.js"
import {budgetForm, currencyForm, endForm, priceForm} from "./forms/budget.js"
import {badge, empty, go, notice, skeleton} from "./ui.js"

export const title = "Budgets"
export const topics = () => ["mine"]

const LOOK_MS = 60000

const state = (app) => (app.state.budgets ??= {
  list: null, error: "", prices: null, pricesError: "", open: null, openError: "", asked: "", timer: 0,
  stage: new Stage(() => {}), redraw: () => app.render(),
})

const chosen = (app) => app.route.query.get("budget") || ""
const onPrices = (app) => app.route.query.get("view") === "prices"

export function enter(app) {
  const own = state(app)
  own.asked = ""
  moved(app)
  clearInterval(own.timer)
  own.timer = setInterval(() => refresh(app), LOOK_MS)
}

export function leave(app) {
  clearInterval(state(app).timer)
}

export function moved(app) {
  const own = state(app)
  const key = wanted(app)
  if (own.asked === key) return
  own.asked = key
  own.openError = ""
  if (own.open?.id !== chosen(app)) own.open = null
  refresh(app)
}

const wanted = (app) => (chosen(app) ? `${chosen(app)} ${app.theme.dark}` : onPrices(app) ? "prices" : "list")

export function refresh(app) {
  const own = state(app)
  const key = own.asked
  const take = (good, bad) => (promise) => promise.then(
    (answer) => { if (own.asked === key) { good(answer); app.render() } },
    (error) => { if (own.asked === key) { bad(error.message); app.render() } })
  if (chosen(app)) {
    const width = Math.round(Math.min(1300, Math.max(300, (app.root.querySelector("#content")?.clientWidth || 900) - 80)))
    take((answer) => { own.open = answer; own.openError = "" }, (words) => { own.openError = words })(app.call("budgets.open", {id: chosen(app), dark: app.theme.dark, width}))
  }
  if (onPrices(app) && !chosen(app)) take((answer) => { own.prices = answer; own.pricesError = "" }, (words) => { own.pricesError = words })(app.call("budgets.prices"))
  else take((answer) => { own.list = answer; own.error = "" }, (words) => { own.error = words })(app.call("budgets.list"))
}

/** A budget was made, changed or ended. */
function changed(app, budget, said) {
  const own = state(app)
  app.closeDialog()
  app.say(said)
  own.asked = ""
  if (chosen(app) === budget.id) moved(app)
  else app.go(`/budgets?budget=${budget.id}`)
  app.render()
}

function priced(app, answer, said) {
  const own = state(app)
  own.prices = answer
  app.closeDialog()
  app.say(said)
  app.render()
}

export function view(app) {
  const own = state(app)
  const id = chosen(app)
  if (own.asked && own.asked !== wanted(app)) queueMicrotask(() => moved(app))
  return {body: [head(app, own, id), id ? opened(app, own, id) : onPrices(app) ? priceList(app, own) : list(app, own)]}
}

function head(app, own, id) {
  const prices = onPrices(app) && !id
  const make = () => budgetForm(app, own.list, null, changed)
  return h("div", {class: "head", key: "head"}, h("h1", {}, "Budgets"),
    !id && !prices && own.list ? h("p", {class: "sub"}, own.list.budgets.length ? many(own.list.budgets.length, "budget") : "None yet") : null,
    h("div", {class: "head-tools"},
      id || prices ? go(app, "/budgets", {class: "button"}, icon("budget"), "All budgets") : go(app, "/budgets?view=prices", {class: "button"}, icon("table"), "Prices"),
      prices && own.prices?.may_price ? h("button", {type: "button", class: "button primary", onclick: () => priceForm(app, own.prices, null, priced)}, "New price") : null,
      !prices && own.list?.may_edit ? h("button", {type: "button", class: "button primary", onclick: make}, icon("budget"), "New budget") : null))
}

// -- the list ------------------------------------------------------------------------------------------------

const amounts = new Intl.NumberFormat("en-GB", {maximumFractionDigits: 2})
const amount = (value, unit) => `${value < 0 ? "−" : ""}${amounts.format(Math.abs(value))}${unit ? ` ${unit}` : ""}`
const share = (budget) => (100 * budget.used) / budget.total
const percents = (budget) => `${Math.abs(share(budget)) < 10 ? share(budget).toFixed(1) : Math.floor(share(budget))} %`
const day = (iso) => new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short", year: "numeric", timeZone: "UTC"}).format(new Date(`${iso}T00:00:00Z`))

export const whose = (budget) => (budget.project ? `Project ${budget.project_title}` : budget.account)

/** Whose use counts. */
const scope = (budget) => !budget.project ? `${budget.account} and all accounts below it`
  : `the project ${budget.project}${budget.project_accounts.length ? ` (${budget.project_accounts.join(", ")} and all accounts below that are in no other project; as the site’s list of projects says today)` : ""}`

/** How it stands, in colour, glyph and word. */
function standing(budget) {
  if (budget.ended_s) return ["over", "■", "Ended"]
  if (budget.project && !budget.project_accounts.length) return ["wait", "?", "No such project"]
  if (share(budget) >= 100) return ["bad", "✕", "Used up"]
  if (budget.now_s >= budget.until_s) return ["over", "■", "Over"]
  if (budget.now_s < budget.from_s) return ["over", "◷", "To come"]
  const passed = budget.thresholds.filter((each) => share(budget) >= each).pop()
  const out = budget.forecast?.out
  if (out && out <= budget.until) return ["wait", "!", "Runs out early"]
  return passed ? ["wait", "!", `Over ${passed} %`] : ["good", "✓", "Fine"]
}

function list(app, own) {
  if (own.error) return h("section", {class: "block", key: "list"}, empty("The budgets can’t be shown", own.error))
  if (!own.list) return h("section", {class: "block", key: "list"}, skeleton(8))
  if (!own.list.budgets.length) {
    return h("section", {class: "block", key: "list"}, own.list.may_edit
      ? empty("No budgets yet", "A budget says how much an account, with all below it, or a project may use in a period: in hours or, once prices are set, in money. It is told when parts of it are used; Slurm’s own limits stay as they are.",
        h("p", {}, h("button", {type: "button", class: "button primary", onclick: () => budgetForm(app, own.list, null, changed)}, "Make the first one")))
      : empty("No budgets for your accounts", "Those who run the cluster can make budgets for accounts. They are shown to the accounts’ people."))
  }
  return h("section", {class: "block table-block", "aria-label": "Budgets", key: "list"},
    h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of budgets"},
      h("table", {class: "table stack budgets"},
        h("thead", {}, h("tr", {}, ["Of", "Period", "Used", "How it stands", "Forecast"].map((name) => h("th", {scope: "col", key: name}, name)))),
        h("tbody", {}, own.list.budgets.map((budget) => line(app, budget))))))
}

function line(app, budget) {
  const used = `${amount(budget.used, "")} of ${amount(budget.total, budget.unit)}`
  return h("tr", {key: budget.id},
    h("th", {scope: "row"}, go(app, `/budgets?budget=${budget.id}`, {class: "report-name"}, whose(budget)), h("span", {class: "report-words"}, budget.metric_title)),
    h("td", {"data-label": "Period"}, `${day(budget.since)} – ${day(budget.until)}`),
    h("td", {"data-label": "Used"}, bar(budget), h("span", {class: "num"}, `${used} (${percents(budget)})`)),
    h("td", {"data-label": "How it stands"}, badge(standing(budget))),
    h("td", {"data-label": "Forecast", class: "budget-ahead"}, ahead(budget)))
}

const bar = (budget) => {
  const tone = share(budget) >= 100 ? "full" : budget.thresholds.some((each) => share(budget) >= each) ? "near" : ""
  return h("span", {class: `budget-bar ${tone}`, "aria-hidden": "true"}, h("i", {style: {width: `${Math.min(100, share(budget))}%`}}))
}

/** Where it goes, in a sentence. */
function ahead(budget) {
  if (budget.ended_s) return `Ended ${when(budget.ended_s)}.`
  if (budget.used_up) return `Used up on ${day(budget.used_up)}.`
  if (!budget.forecast) return budget.why_none
  const {out, early, late} = budget.forecast
  if (!out) return "Nothing is likely to be used."
  if (out > budget.until) return early ? `Lasts to the end; it may be used up from ${day(early)} on.` : "Lasts to the end."
  const between = early && (early !== out || late !== out) ? ` (${late ? `between ${day(early)} and ${day(late)}` : `${day(early)} at the earliest, or not at all`})` : ""
  return `Likely used up on ${day(out)}${between}.`
}

// -- one budget ----------------------------------------------------------------------------------------------

function opened(app, own, id) {
  if (own.openError) return h("section", {class: "block", key: "open"}, empty("This budget can’t be shown", own.openError, h("p", {}, go(app, "/budgets", {class: "button"}, "All budgets"))))
  const budget = own.open
  if (!budget || budget.id !== id) return h("section", {class: "block", key: "open"}, skeleton(12))
  const left = budget.total - budget.used
  const figures = [["Used", `${amount(budget.used, budget.unit)}`, percents(budget)], [left < 0 ? "Over" : "Left", amount(Math.abs(left), budget.unit), `of ${amount(budget.total, budget.unit)}`]]
  if (budget.forecast) figures.push(["At the end, forecast", amount(budget.forecast.end[1], budget.unit), `${amount(budget.forecast.end[0], "")} to ${amount(budget.forecast.end[2], budget.unit)}`])
  const usage = `/usage?${new URLSearchParams({metric: budget.metric, ...(budget.project ? {project: budget.project} : {account: budget.account}), since: budget.since, until: budget.until, by: "user"})}`
  return [
    h("section", {class: "block report-head", "aria-label": "Budget", key: "open-head"},
      h("div", {class: "report-title"}, h("h2", {}, whose(budget), " ", badge(standing(budget))),
        h("div", {class: "head-tools"},
          go(app, usage, {class: "button"}, icon("usage"), "Usage behind it"),
          budget.may_edit && !budget.ended_s ? h("button", {type: "button", class: "button", onclick: () => own.list && budgetForm(app, own.list, budget, changed)}, icon("log"), "Change") : null,
          budget.may_edit && !budget.ended_s ? h("button", {type: "button", class: "button danger", onclick: () => endForm(app, budget, changed)}, icon("stop"), "End") : null)),
      h("p", {class: "sub"}, `${budget.metric_title} of ${scope(budget)}, ${day(budget.since)} to ${day(budget.until)} (${budget.zone}). Made by ${budget.created_by}.`, budget.ended_s ? ` Ended ${full(budget.ended_s)} by ${budget.ended_by}.` : ""),
      budget.note ? h("p", {class: "budget-note"}, budget.note) : null,
      h("dl", {class: "big-figures", key: "totals"}, figures.map(([name, value, more], index) => h("div", {class: "big-figure" + (index ? "" : " main"), key: name}, h("dt", {}, name), h("dd", {class: "big num"}, value), h("dd", {class: "change"}, more)))),
      h("p", {}, ahead(budget))),
    h("section", {class: "block", "aria-label": "Burn-down", key: "open-chart"}, h("h2", {}, "What is left"), chartView(own, budget.picture), legend(app, budget.picture, () => {}),
      budget.why_none ? h("p", {class: "sub"}, budget.why_none) : h("p", {class: "sub"}, budget.method, budget.forecast.days < 28 ? ` Here ${budget.forecast.days} days are known.` : ""),
      budget.notes.map((words, index) => h("p", {class: "sub", key: `n${index}`}, words))),
    told(budget),
    h("section", {class: "block", "aria-label": "Figures", key: "open-table"}, h("h2", {}, "By day"), twin(own, budget.picture, () => {})),
  ]
}

const FATES = {
  told: ["good", "✓", "Told"], passed: ["over", "–", "Told with a higher one"], waiting: ["wait", "◷", "Tried again soon"],
  sending: ["busy", "◐", "Being sent"], failed: ["bad", "✕", "Not told"], nobody: ["wait", "–", "Nobody to tell"],
}
const SENT = {sent: "sent", waiting: "not sent yet", failed: "not sent", unsure: "may have gone out"}

function told(budget) {
  const marks = budget.thresholds.map((each) => `${each} %`).join(", ")
  const body = budget.told.length
    ? h("ul", {class: "schedules"}, budget.told.map((each) => h("li", {key: `${each.threshold}-${each.reached_s}`},
      h("div", {class: "schedule-words"},
        h("div", {class: "fate"}, badge(FATES[each.state] || FATES.failed), h("strong", {}, `${each.threshold} %`), h("span", {}, `${full(each.reached_s)}, ${amount(each.used, budget.unit)} used`), each.before ? h("span", {class: "quiet-text"}, "before the budget was changed") : null),
        each.mails.length ? each.mails.map((mail, index) => h("span", {class: "sub", key: `m${index}`}, `${[mail.who, mail.to].filter(Boolean).join(", ") || "mail"}: ${SENT[mail.state] || mail.state}`, mail.why ? `. ${mail.why}` : ""))
          : each.sent ? h("span", {class: "sub"}, `${many(each.sent, "person was", "people were")} told by mail.`) : null))))
    : h("p", {class: "sub"}, !marks ? "No thresholds are set." : budget.thresholds.some((each) => share(budget) >= each) && !budget.ended_s && budget.now_s < budget.until_s ? "Reached, and about to be told: the console looks once a minute." : "None was reached yet.")
  return h("section", {class: "block", "aria-label": "Notices", key: "open-told"}, h("h2", {}, "Notices"),
    marks ? h("p", {class: "sub"}, `Told once each at ${marks}, to ${budget.project ? "who coordinates all of its accounts" : "the account’s coordinators"}${budget.watchers.length ? ` and ${budget.watchers.join(", ")}` : ""}.`) : null, body)
}

// -- prices --------------------------------------------------------------------------------------------------

const WHAT = {cpu: "CPU", mem: "Memory, GB", node: "Node", billing: "Billing unit", "gres/gpu": "GPU, any type"}
export const what = (tres) => WHAT[tres] || `GPU ${tres.split(":")[1]}`
const WHEN = {now: ["good", "✓", "In force"], coming: ["wait", "◷", "To come"], past: ["over", "■", "Past"]}

function priceList(app, own) {
  if (own.pricesError) return h("section", {class: "block", key: "prices"}, empty("The prices can’t be shown", own.pricesError))
  const list = own.prices
  if (!list) return h("section", {class: "block", key: "prices"}, skeleton(8))
  const past = app.route.query.get("past") === "1"
  const shown = list.prices.filter((each) => past || each.state !== "past")
  const gone = list.prices.length - list.prices.filter((each) => each.state !== "past").length
  return [
    h("section", {class: "block table-block", "aria-label": "Prices", key: "prices"},
      h("div", {class: "report-title budget-pricehead"}, h("h2", {}, "Prices of an hour"),
        h("div", {class: "head-tools"},
          gone ? h("button", {type: "button", class: "pill", "aria-pressed": String(past), onclick: () => app.query({past: past ? null : "1"}, {replace: true})}, "Past ones, too") : null,
          h("span", {class: "quiet-text"}, list.currency ? `in ${list.currency}` : "no currency set"),
          list.may_price ? h("button", {type: "button", class: "button", onclick: () => currencyForm(app, list, priced)}, "Currency") : null)),
      shown.length ? h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of prices"},
        h("table", {class: "table stack prices"},
          h("thead", {}, h("tr", {}, ["An hour of", "In partition", "With QOS", "Price", "From", "Until", "State"].map((name) => h("th", {scope: "col", key: name, class: name === "Price" ? "right" : undefined}, name)), h("th", {scope: "col", key: "do"}, h("span", {class: "unseen"}, "Actions")))),
          h("tbody", {}, shown.map((each) => priceLine(app, list, each)))))
        : empty("No prices are set", "Without prices nothing has a cost. Hours are counted all the same.",
          list.may_price ? h("p", {}, h("button", {type: "button", class: "button primary", onclick: () => priceForm(app, list, null, priced)}, "Set the first price")) : null)),
    h("section", {class: "block", "aria-label": "How costs are made", key: "how"}, h("h2", {}, "How costs are made"),
      h("p", {}, "Each hour costs what the price list said for that hour. Of several prices for the same resource one applies: that for the type of GPU before that for any GPU; then that for the job’s partition and QOS, for the partition, for the QOS, for all. Different resources add up."),
      h("p", {class: "sub"}, `A price holds from the start of a day (${list.zone}). Once in force it is neither changed nor taken back, a later one follows it: what was reckoned stays. Only usage that never had a price may get one in the past.`)),
  ]
}

function priceLine(app, list, each) {
  const withdraw = () => app.call("budgets.withdraw", {id: each.id}).then((answer) => priced(app, answer, "The price is taken back."), (error) => app.toast(error.message, "bad"))
  return h("tr", {key: each.id},
    h("th", {scope: "row"}, what(each.tres)),
    h("td", {"data-label": "In partition"}, each.partition || h("span", {class: "quiet-text"}, "any")),
    h("td", {"data-label": "With QOS"}, each.qos || h("span", {class: "quiet-text"}, "any")),
    h("td", {"data-label": "Price", class: "num right"}, each.amount),
    h("td", {"data-label": "From"}, h("span", {title: `Set by ${each.by}, ${full(each.created_s)}`}, day(each.from))),
    h("td", {"data-label": "Until"}, each.until ? day(each.until) : "–"),
    h("td", {"data-label": "State"}, badge(WHEN[each.state])),
    h("td", {class: "report-do"}, !list.may_price || each.state === "past" ? null : each.state === "coming"
      ? h("button", {type: "button", class: "button small-text", "aria-label": `Take back: ${what(each.tres)} from ${day(each.from)}`, onclick: withdraw}, "Take back")
      : h("button", {type: "button", class: "button small-text", "aria-label": `Follow: ${what(each.tres)} from ${day(each.from)}`, onclick: () => priceForm(app, list, each, priced)}, "New from …")))
}
