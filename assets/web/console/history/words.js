// The words of the history's address: what each filter is called, how its value reads, and how it is changed.
import {JOB_STATES, model} from "../format.js"

export const WINDOWS = [["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"], ["365d", "A year"], ["all", "All years"]]
export const USUAL_WINDOW = "30d"
export const SORTS = [
  ["end_s", "Ended"], ["start_s", "Started"], ["submit_s", "Submitted"], ["wall_s", "Ran for"], ["wait_s", "Waited"],
  ["cpus", "CPUs"], ["gpus", "GPUs"], ["nodes", "Nodes"], ["mem_mb", "Memory"], ["cpu_percent", "CPU efficiency"], ["job_id", "Number"],
]
// Several values of one are alternatives. `of`: what the server offers values of.
export const LISTS = {
  state: {title: "State"}, user: {title: "User", of: "user"}, account: {title: "Account", of: "account", hint: "with all below it"},
  partition: {title: "Partition", of: "partition"}, qos: {title: "QOS", of: "qos"}, gpu: {title: "GPU model", of: "gpu_type"},
  tag: {title: "Tag", of: "tag"}, job: {title: "Job number", hint: "of a job or an array"}, app: {title: "App", of: "app"},
  cluster: {title: "Cluster", of: "cluster"},
}
export const RANGES = {
  gpus: {title: "GPUs", unit: ""}, nodes: {title: "Nodes", unit: ""}, cpus: {title: "CPUs", unit: ""},
  wall: {title: "Ran for", unit: "", hint: "30m, 8h, 1d12h"},
  cpu_eff: {title: "CPU used", unit: "%"}, gpu_eff: {title: "GPU used", unit: "%", hint: "of jobs whose GPUs were measured"},
  mem_eff: {title: "Memory used", unit: "%", hint: "of jobs that were measured"},
}
const OWN = [...Object.keys(LISTS), ...Object.keys(RANGES), "name", "window", "since", "until", "who", "sort", "order"]

export const list = (query, name) => (query.get(name) || "").split(",").filter(Boolean)

/** The words of the address that are a question, without the place in it. */
export function question(query, {place = true} = {}) {
  const words = new URLSearchParams()
  for (const name of [...OWN, ...(place ? ["after", "before"] : [])]) if (query.get(name)) words.set(name, query.get(name))
  return words.toString()
}

export const anyFilter = (query) => [...Object.keys(LISTS), ...Object.keys(RANGES), "name"].some((name) => query.get(name))

/** The address without any of it: a question that can't be asked is begun anew. */
export const NONE = Object.fromEntries([...OWN, "after", "before"].filter((name) => name !== "who").map((name) => [name, null]))

/** Each value of a filter as a pill: [name, value, words]. */
export function pills(query) {
  const found = []
  for (const [name, {title}] of Object.entries(LISTS)) for (const value of list(query, name)) found.push([name, value, title, words(name, value)])
  for (const [name, {title, unit}] of Object.entries(RANGES)) if (query.get(name)) found.push([name, query.get(name), title, rangeWords(query.get(name), unit)])
  return found
}

function words(name, value) {
  if (name === "state") return JOB_STATES[value.toUpperCase()]?.[2] || value
  return name === "gpu" ? model(value) : value
}

function rangeWords(value, unit) {
  const [least, most] = value.includes("..") ? value.split("..") : [value, value]
  const written = (number) => number + (unit ? ` ${unit}` : "")
  if (least === most) return written(least)
  if (!most) return `${written(least)} or more`
  return least ? `${least} to ${written(most)}` : `${written(most)} or less`
}

/** The address without the value. */
export function without(query, name, value) {
  if (name in RANGES || name === "name") return {[name]: null}
  return {[name]: list(query, name).filter((each) => each !== value).join(",")}
}
export const withValue = (query, name, value) => ({[name]: [...new Set([...list(query, name), value])].join(",")})
