// The forms of reports: what is asked and who sees it; when it goes out and where to.
import {h} from "../dom.js"
import {field, go, select, toggle} from "../ui.js"

const MOST_BY = 3
const CHARTS = [["", "As it suits"], ["time", "Over time"], ["rank", "Ranking"], ["table", "Only a table"]]
const WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

const pairs = (list) => list.map(([value, label]) => ({value, label}))
const flip = (list, name) => (list.includes(name) ? list.filter((each) => each !== name) : [...list, name])

/** One dialog: fields from `draw`, a call on submit, problems beside their fields. */
export function form(app, {title, words, send, draw}) {
  const own = {busy: false, error: "", problems: {}}
  const submit = async (event) => {
    event.preventDefault()
    if (own.busy) return
    Object.assign(own, {busy: true, error: "", problems: {}})
    app.render()
    try {
      await send()
    } catch (error) {
      own.problems = Object.fromEntries((error.problems || []).map((each) => [each.field, each.message]))
      own.error = error.message
    }
    own.busy = false
    app.render()
  }
  app.ask(() => {
    const drawn = draw(own.problems)
    const beside = Object.keys(own.problems).some((name) => drawn.names.includes(name))
    return {
      key: "report-form", title, wide: true, onclose: () => app.closeDialog(),
      body: h("form", {id: "report-form", class: "form", onsubmit: submit}, drawn.fields,
        own.error && !beside ? h("p", {class: "problem", role: "alert", key: "error"}, h("span", {"aria-hidden": "true"}, "✕ "), own.error) : null),
      actions: [h("button", {type: "button", class: "button", onclick: () => app.closeDialog()}, "Cancel"),
        h("button", {type: "submit", class: "button primary", form: "report-form", disabled: own.busy}, own.busy ? "Saving …" : words)],
    }
  })
}

export const textField = (app, values, name, props) => h("input", {
  ...props, value: values[name], oninput: (event) => { values[name] = event.target.value },
})

/** A new report, or `report` changed; `done(app, report)` when the server has it. */
export function editForm(app, list, report, done) {
  const question = report?.question || {metrics: ["cpu_hours"], by: ["user"], where: {}, window: "last_month", who: "all"}
  const values = {
    name: report?.name || "", visibility: report?.visibility || "private", account: report?.account || list.accounts[0] || "",
    chart: report?.chart || "", metrics: [...question.metrics], by: [...question.by], window: question.window || "", where: {...question.where},
  }
  const set = (name) => (value) => { values[name] = value; app.render() }
  const windows = values.window ? list.windows : [["", `${question.since} until ${question.until}`], ...list.windows]
  const visibilities = [["private", "Only me"], ...(list.accounts.length ? [["account", "People of an account"]] : []), ["everyone", "Everyone here"]]
  const asked = () => {
    const window = values.window ? {window: values.window, since: "", until: ""} : {window: "", since: question.since, until: question.until}
    const order = question.order && [...values.metrics, ...values.by].includes(question.order.replace(/^-/, "")) ? question.order : ""
    return {...question, metrics: values.metrics, by: values.by, where: values.where, order, ...window}
  }
  form(app, {
    title: report ? `Change “${report.name}”` : "New report", words: report ? "Save" : "Keep it",
    send: async () => done(app, await app.call("reports.save", {id: report?.id || "", name: values.name, chart: values.chart, visibility: values.visibility, account: values.account, question: asked()})),
    draw: (problems) => ({
      names: ["name", "metrics", "by", "window", "visibility", "account", "chart"],
      fields: [
        field({id: "report-name", label: "Name", problem: problems.name, control: textField(app, values, "name", {id: "report-name", type: "text", maxlength: 120, required: true, "data-first": "", "aria-describedby": problems.name ? "report-name-problem" : undefined})}),
        h("div", {class: "form-grid", key: "first"},
          field({id: "report-window", label: "Window", problem: problems.window, control: select({id: "report-window", value: values.window, options: pairs(windows), onchange: set("window")})}),
          field({id: "report-chart", label: "Chart", problem: problems.chart, control: select({id: "report-chart", value: values.chart, options: pairs(CHARTS), onchange: set("chart")})}),
          field({id: "report-visibility", label: "Shown to", problem: problems.visibility, control: select({id: "report-visibility", value: values.visibility, options: pairs(visibilities), onchange: set("visibility")}), hint: values.visibility === "private" ? "" : "Each sees only what they may see themselves."}),
          values.visibility === "account" ? field({id: "report-account", label: "Account", problem: problems.account, control: select({id: "report-account", value: values.account, options: pairs(list.accounts.map((name) => [name, name])), onchange: set("account")})}) : null),
        choices("Figures", list.metrics, values.metrics, set("metrics"), problems.metrics),
        choices(`A row for each (at most ${MOST_BY})`, list.dimensions, values.by, (chosen) => set("by")(chosen.slice(-MOST_BY)), problems.by),
        filters(app, values),
      ],
    }),
  })
}

function choices(label, all, chosen, onchange, problem) {
  return h("fieldset", {class: "choices", key: label}, h("legend", {}, label),
    h("div", {class: "pills"}, all.map(([name, words]) => h("span", {class: "pill-wrap", key: name}, toggle(words, chosen.includes(name), () => onchange(flip(chosen, name)))))),
    problem ? h("p", {class: "problem"}, h("span", {"aria-hidden": "true"}, "✕ "), problem) : null)
}

function filters(app, values) {
  const all = Object.entries(values.where).flatMap(([name, list]) => list.map((value) => [name, value]))
  const drop = (name, value) => {
    const rest = values.where[name].filter((each) => each !== value)
    if (rest.length) values.where[name] = rest
    else delete values.where[name]
    app.render()
  }
  return h("div", {class: "field", key: "filters"}, h("span", {class: "label"}, "Filters"),
    all.length ? h("div", {class: "pills"}, all.map(([name, value]) => h("button", {type: "button", class: "pill", key: `${name}-${value}`, "aria-label": `Remove ${name} ${value || "none"}`, onclick: () => drop(name, value)}, `${name}: ${value || "none"} `, h("span", {"aria-hidden": "true"}, "✕")))) : null,
    h("p", {class: "hint"}, "To set filters, arrange the figures on ", go(app, "/usage", {}, "Usage"), " and keep them from there."))
}

/** What the usage page shows, kept under a name. */
export function keepForm(app, query) {
  const values = {name: "", visibility: "private"}
  form(app, {
    title: "Keep as a report", words: "Keep it",
    send: async () => {
      const report = await app.call("reports.keep", {query, name: values.name, visibility: values.visibility})
      app.closeDialog()
      app.toast(`“${report.name}” is kept.`, "good")
      app.go(`/reports?report=${report.id}`)
    },
    draw: (problems) => ({
      names: ["name", "visibility"],
      fields: [
        field({id: "keep-name", label: "Name", problem: problems.name, control: textField(app, values, "name", {id: "keep-name", type: "text", maxlength: 120, required: true, "data-first": ""}), hint: "The figures are asked anew whenever it is opened; its window moves with the calendar."}),
        field({id: "keep-visibility", label: "Shown to", problem: problems.visibility, control: select({id: "keep-visibility", value: values.visibility, options: pairs([["private", "Only me"], ["everyone", "Everyone here"]]), onchange: (value) => { values.visibility = value; app.render() }}), hint: "Each sees only what they may see themselves."}),
      ],
    }),
  })
}

/** When `report` goes out by itself; `schedule` is changed, or a new one made. */
export function scheduleForm(app, list, report, schedule, done) {
  const values = {
    every: schedule?.every || "month", hour: String(schedule?.hour ?? 6), weekday: String(schedule?.weekday ?? 0), format: schedule?.format || "xlsx",
    way: schedule?.way || (list.mail ? "mail" : "folder"), addresses: (schedule?.addresses || []).join(", "),
  }
  const set = (name) => (value) => { values[name] = value; app.render() }
  const ways = [...(list.mail ? [["mail", "By mail"]] : []), ...(list.may_file ? [["folder", "Into the site’s folder"]] : [])]
  form(app, {
    title: `When “${report.name}” goes out`, words: schedule ? "Save" : "Schedule it",
    send: async () => done(app, await app.call("reports.schedule", {
      id: report.id, schedule: schedule?.id || "", every: values.every, hour: Number(values.hour), weekday: Number(values.weekday), format: values.format, way: values.way, addresses: values.way === "mail" ? values.addresses : "",
    })),
    draw: (problems) => ({
      names: ["every", "hour", "format", "way", "addresses"],
      fields: [
        h("div", {class: "form-grid", key: "when"},
          field({id: "schedule-every", label: "How often", problem: problems.every, control: select({id: "schedule-every", value: values.every, options: pairs([["month", "Monthly, on the 1st"], ["week", "Weekly"], ["day", "Daily"]]), onchange: set("every")})}),
          values.every === "week" ? field({id: "schedule-weekday", label: "Day", control: select({id: "schedule-weekday", value: values.weekday, options: WEEKDAYS.map((label, value) => ({value: String(value), label})), onchange: set("weekday")})}) : null,
          field({id: "schedule-hour", label: "Hour", control: select({id: "schedule-hour", value: values.hour, options: Array.from({length: 24}, (_, hour) => ({value: String(hour), label: `${String(hour).padStart(2, "0")}:00`})), onchange: set("hour")}), hint: list.zone}),
          field({id: "schedule-format", label: "File", problem: problems.format, control: select({id: "schedule-format", value: values.format, options: pairs(list.formats), onchange: set("format")})}),
          field({id: "schedule-way", label: "How", problem: problems.way, control: select({id: "schedule-way", value: values.way, options: pairs(ways), onchange: set("way")}), hint: values.way === "folder" ? list.folder : ""})),
        values.way !== "mail" ? null : list.may_mail_anyone
          ? field({id: "schedule-addresses", label: "Mail addresses", problem: problems.addresses, control: textField(app, values, "addresses", {id: "schedule-addresses", type: "text", placeholder: list.own_mail}), hint: "Several with commas between them; none: your own. They get what you may see."})
          : h("p", {class: "hint", key: "to"}, list.own_mail ? `It goes to ${list.own_mail}.` : "Your mail address is not known here.", problems.addresses ? h("span", {class: "problem"}, ` ${problems.addresses}`) : null),
        report.question.window ? null : h("p", {class: "hint", key: "fixed"}, "Its window is fixed: each mail tells of the same days. A window such as “Last month” moves on."),
      ],
    }),
  })
}
