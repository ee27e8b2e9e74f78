// The address of the usage page: the server reads it, these scripts only change it.

/** The query with these changes: null takes a part away, a list stands once for each of its values. */
export function changed(app, changes) {
  const query = new URLSearchParams(app.route.query)
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name)
    if (Array.isArray(value)) for (const item of value) query.append(name, item)
    else if (value !== null && value !== undefined && value !== "") query.append(name, value)
  }
  return query
}

export const href = (query) => {
  const text = query.toString()
  return "/usage" + (text ? `?${text}` : "")
}

export const to = (app, changes, options) => app.go(href(changed(app, changes)), options)

const OVER = ["cell", "table"] // what lies over the picture or beside it, and asks the server nothing new

/** The part of the address that the picture depends on. */
export function asked(app) {
  const query = new URLSearchParams(app.route.query)
  for (const name of OVER) query.delete(name)
  return query.toString()
}

/** The values of a filter. */
export const values = (app, name) => app.route.query.getAll(name)

export function flip(app, name, value) {
  const now = values(app, name)
  to(app, {[name]: now.includes(value) ? now.filter((item) => item !== value) : [...now, value], sort: null, rows: null})
}

/** Addresses of pictures that people often want. `gpus`: whether there are any. */
export function presets(topic) {
  const main = topic.metric
  const name = topic.metrics.find(([key]) => key === main)?.[1] || "Use"
  return [
    [`${name} by user`, `metric=${main}&by=user`],
    ["This month and the one before", `metric=${main}&window=month&compare=1`],
    ["The year by account", `metric=${main}&chart=tree&window=year`],
    ["Largest users", `metric=${main}&by=user&chart=rank&window=90d`],
    ["Waiting", "chart=wait&window=90d"],
    ["Busy hours", "metric=jobs_submitted&chart=week&window=90d"],
    ["Unused CPU hours", "metric=cpu_hours_unused&by=user&chart=rank&window=30d"],
    ["How full the cluster is", "metric=cpu_hours&chart=capacity&window=30d"],
  ]
}
