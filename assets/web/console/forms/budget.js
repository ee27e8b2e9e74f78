// The forms of budgets and prices; what is wrong is told beside its field, as the server says it.
import {h} from "../dom.js"
import {field, notice, select} from "../ui.js"
import {form, textField} from "./report.js"

const pairs = (list) => list.map(([value, label]) => ({value, label}))
const RESOURCES = [["cpu", "CPU"], ["mem", "Memory, GB (1024 MB)"], ["node", "Node"], ["billing", "Slurm’s billing unit"], ["gres/gpu", "GPU of any type"], ["gpu-type", "GPU of one type"]]

/** The input of one field, with its problem tied to it. */
const input = (app, values, problems, name, id, props) =>
  textField(app, values, name, {id, "aria-invalid": problems[name] ? "true" : undefined, "aria-describedby": problems[name] ? `${id}-problem` : undefined, ...props})

/** A new budget, or `budget` changed. */
export function budgetForm(app, list, budget, done) {
  const year = list.today.slice(0, 4)
  const values = {
    of: budget?.project ? "project" : "account", account: budget?.account || list.accounts[0] || "", project: budget?.project || list.projects[0]?.[0] || "", metric: budget?.metric || (list.priced ? "cost" : "cpu_hours"), amount: budget?.amount || "",
    since: budget?.since || `${year}-01-01`, until: budget?.until || `${year}-12-31`,
    thresholds: (budget?.thresholds || list.thresholds).join(", "), watchers: (budget?.watchers || []).join(", "), note: budget?.note || "",
  }
  const set = (name) => (value) => { values[name] = value; app.render() }
  // One that is in the list no more stays to be chosen, so that it is told beside the field.
  const gone = values.project && !list.projects.some(([name]) => name === values.project) ? [[values.project, values.project]] : []
  const projects = [...list.projects.map(([name, title]) => [name, title === name ? name : `${title} (${name})`]), ...gone]
  const metrics = list.priced ? list.metrics : list.metrics.filter(([name]) => name !== "cost")
  form(app, {
    title: budget ? `Change the budget of ${budget.project || budget.account}` : "New budget", words: budget ? "Save" : "Make it",
    send: async () => done(app, await app.call("budgets.save", {id: budget?.id || "", ...values, account: values.of === "account" ? values.account : "", project: values.of === "project" ? values.project : ""}), budget ? "The budget is changed." : "The budget is made."),
    draw: (problems) => ({
      names: ["account", "project", "metric", "amount", "since", "until", "thresholds", "watchers", "note"],
      fields: [
        h("div", {class: "form-grid", key: "what"},
          list.projects.length || values.of === "project" ? field({id: "budget-of", label: "Budget of", control: select({id: "budget-of", value: values.of, options: pairs([["account", "an account"], ["project", "a project"]]), onchange: set("of")})}) : null,
          values.of === "project" ? field({id: "budget-project", label: "Project", problem: problems.project, hint: "With the accounts that are in it today.", control: select({id: "budget-project", value: values.project, options: pairs(projects), onchange: set("project"), problem: problems.project})})
            : field({id: "budget-account", label: "Account", problem: problems.account, hint: "With all accounts below it.", control: select({id: "budget-account", value: values.account, options: pairs(list.accounts.map((name) => [name, name])), onchange: set("account"), problem: problems.account})}),
          field({id: "budget-metric", label: "In", problem: problems.metric, hint: list.priced ? "" : "In money once prices are set.", control: select({id: "budget-metric", value: values.metric, options: pairs(metrics), onchange: set("metric"), problem: problems.metric})}),
          field({id: "budget-amount", label: "Amount", problem: problems.amount, control: input(app, values, problems, "amount", "budget-amount", {type: "text", inputmode: "decimal", required: true, "data-first": "", maxlength: 32})})),
        h("div", {class: "form-grid", key: "when"},
          field({id: "budget-since", label: "First day", problem: problems.since, control: input(app, values, problems, "since", "budget-since", {type: "date", required: true})}),
          field({id: "budget-until", label: "Last day", problem: problems.until, hint: list.zone, control: input(app, values, problems, "until", "budget-until", {type: "date", required: true})}),
          field({id: "budget-thresholds", label: "Tell at percent", problem: problems.thresholds, control: input(app, values, problems, "thresholds", "budget-thresholds", {type: "text", maxlength: 100})})),
        field({id: "budget-watchers", label: "Mail to, besides the coordinators", problem: problems.watchers, hint: list.mail ? "Addresses with commas between them." : "This console sends no mail (mail.host): notices are on this page only.", control: input(app, values, problems, "watchers", "budget-watchers", {type: "text", maxlength: 4000})}),
        field({id: "budget-note", label: "Note", problem: problems.note, control: h("textarea", {id: "budget-note", rows: "2", maxlength: "2000", value: values.note, oninput: (event) => { values.note = event.target.value }})}),
      ],
    }),
  })
}

/** Ended before its time, when one is sure. */
export function endForm(app, budget, done) {
  form(app, {
    title: `End the budget of ${budget.project || budget.account}?`, words: "End it",
    send: async () => done(app, await app.call("budgets.end", {id: budget.id}), "The budget is ended."),
    draw: () => ({names: [], fields: [h("p", {key: "words"}, "Nothing of it is told any more. It stays to be looked at, and can’t be taken up again: a new budget can be made.")]}),
  })
}

/** A new price, or one that follows `price`. */
export function priceForm(app, list, price, done) {
  const typed = price?.tres.startsWith("gres/gpu:")
  const values = {
    resource: typed ? "gpu-type" : price?.tres || "cpu", type: typed ? price.tres.split(":")[1] : "", amount: price?.amount || "",
    day: price ? following(list.today) : list.today, partition: price?.partition || "", qos: price?.qos || "",
  }
  const set = (name) => (value) => { values[name] = value; app.render() }
  const any = (names, chosen) => [["", "any"], ...[...new Set([...names, ...(chosen ? [chosen] : [])])].map((name) => [name, name])]
  form(app, {
    title: price ? "A price that follows" : "New price", words: "Set it",
    send: async () => done(app, await app.call("budgets.price", {
      tres: values.resource === "gpu-type" ? `gres/gpu:${values.type.trim()}` : values.resource, amount: values.amount, day: values.day, partition: values.partition, qos: values.qos,
    }), "The price is set."),
    draw: (problems) => ({
      names: ["tres", "amount", "day", "partition", "qos"],
      fields: [
        h("div", {class: "form-grid", key: "what"},
          field({id: "price-tres", label: "An hour of", problem: problems.tres, control: select({id: "price-tres", value: values.resource, options: pairs(RESOURCES), onchange: set("resource"), problem: problems.tres})}),
          values.resource === "gpu-type" ? field({id: "price-type", label: "Type", hint: "As Slurm names it, such as a100.", control: textField(app, values, "type", {id: "price-type", type: "text", maxlength: 63, required: true})}) : null,
          field({id: "price-amount", label: list.currency ? `Price in ${list.currency}` : "Price", problem: problems.amount, control: input(app, values, problems, "amount", "price-amount", {type: "text", inputmode: "decimal", required: true, "data-first": "", maxlength: 32})})),
        h("div", {class: "form-grid", key: "where"},
          field({id: "price-partition", label: "In partition", problem: problems.partition, control: select({id: "price-partition", value: values.partition, options: pairs(any(list.partitions, values.partition)), onchange: set("partition"), problem: problems.partition})}),
          field({id: "price-qos", label: "With QOS", problem: problems.qos, control: select({id: "price-qos", value: values.qos, options: pairs(any(list.qos, values.qos)), onchange: set("qos"), problem: problems.qos})}),
          field({id: "price-day", label: "From", problem: problems.day, hint: list.zone, control: input(app, values, problems, "day", "price-day", {type: "date", required: true})})),
        h("div", {key: "words"}, notice("info", "Once in force it can’t be changed or taken back, only followed by a later price. Where usage has a price already, a new one begins tomorrow at the earliest.")),
      ],
    }),
  })
}

const following = (iso) => new Date(Date.parse(`${iso}T00:00:00Z`) + 86400000).toISOString().slice(0, 10)

export function currencyForm(app, list, done) {
  const values = {currency: list.currency}
  form(app, {
    title: "Currency", words: "Save",
    send: async () => done(app, await app.call("budgets.currency", values), "The currency is set."),
    draw: (problems) => ({
      names: ["currency"],
      fields: [field({id: "price-currency", label: "Currency", problem: problems.currency, hint: "Such as EUR or €. It stays once a price is in force.", control: input(app, values, problems, "currency", "price-currency", {type: "text", maxlength: 8, required: true, "data-first": ""})})],
    }),
  })
}
