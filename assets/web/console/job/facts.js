// What a job asked for, was given and used, side by side; and whose it is.
import {h} from "../dom.js"
import {count, gpuWords, memory, now, span} from "../format.js"
import {facts, go} from "../ui.js"
import {amount} from "./curve.js"

const MB = 2 ** 20

export function resources(job, footprint) {
  const {asked, used} = job
  const given = job.state !== "PENDING" && job.start_s !== null
  const wall = given ? (job.over ? job.end_s : now()) - job.start_s : 0
  const cpuWords = () => {
    if (used.cpu_s !== null && wall > 0 && job.cpus) return [`${span(used.cpu_s)} of CPU`, share(used.cpu_s / (wall * job.cpus))]
    if (footprint?.cpu_cores_mean != null && footprint.cpus) return [`${amount(footprint.cpu_cores_mean, "cores")} on average`, share(footprint.cpu_cores_mean / footprint.cpus)]
    return null
  }
  const memoryWords = () => {
    const peak = used.mem_peak_mb !== null ? used.mem_peak_mb * MB : footprint?.memory_peak_bytes
    if (peak == null) return null
    const limit = footprint?.memory_limit_bytes || (job.memory_mb && job.nodes === 1 ? job.memory_mb * MB : 0)
    return [`${amount(peak, "bytes")} at most${job.nodes > 1 ? ", on one node" : ""}`, limit ? share(peak / limit) : null]
  }
  const gpusUsed = () => {
    if (footprint?.gpu_percent_mean == null) return null
    const unseen = job.gpus - footprint.gpus
    return [`${amount(footprint.gpu_percent_mean, "percent")} busy on average`, h("span", {class: "quiet-text"}, `${footprint.gpus_used} of ${footprint.gpus} used${unseen > 0 ? `, ${unseen} not measured` : ""}`)]
  }
  const rows = [
    ["CPUs", asked.cpus && count(asked.cpus), given ? count(job.cpus) : null, cpuWords()],
    ["Memory", asked.mem_mb && memory(asked.mem_mb), given && job.memory_mb ? memory(job.memory_mb) : null, memoryWords()],
    ["GPUs", asked.gpus ? count(asked.gpus) : null, given && job.gpus ? gpuWords(job) : null, gpusUsed()],
    ["Nodes", asked.nodes && count(asked.nodes), given ? count(job.nodes) : null, null],
    ["Time", job.time_limit_s === null ? "no limit" : span(job.time_limit_s), null, wall > 0 ? [span(wall), job.time_limit_s ? share(wall / job.time_limit_s) : null] : null],
    ["Energy", null, null, used.energy_j ? [`${(used.energy_j / 3.6e6).toFixed(2)} kWh`] : null],
  ].filter((row) => row[1] || row[2] || row[3])
  return [
    h("table", {class: "table asked", key: "asked"},
      h("thead", {}, h("tr", {}, ["", "Asked", "Given", "Used"].map((name) => h("th", {scope: "col", key: name}, name || h("span", {class: "unseen"}, "What"))))),
      h("tbody", {}, rows.map(([name, want, got, did]) => h("tr", {key: name},
        h("th", {scope: "row"}, name), h("td", {class: "num", "data-label": "Asked"}, want || dash()), h("td", {class: "num", "data-label": "Given"}, got || dash()),
        h("td", {class: "num", "data-label": "Used"}, did ? did.map((part, at) => h("span", {class: at ? "used-share" : "used-words", key: `${at}`}, part)) : dash()))))),
    asked.why || used.why ? h("p", {class: "hint", key: "why"}, [asked.why, used.why].filter(Boolean).join(" ")) : null,
    job.tres || asked.tres ? h("p", {class: "hint mono tres", key: "tres"}, job.tres || asked.tres) : null,
  ]
}

const dash = () => h("span", {class: "quiet-text"}, "–")

/** How much of it, as a small bar with its number. */
function share(part) {
  const percent = Math.round(part * 100)
  return h("span", {class: "share-bar", title: `${percent} %`}, h("i", {style: {width: `${Math.min(100, percent)}%`}}), h("b", {class: "num"}, `${percent} %`))
}

export function belongs(app, job) {
  return facts([
    ["User", job.own ? job.user : h("strong", {}, job.user)], ["Account", job.account], ["Partition", job.partition], ["QOS", job.qos],
    ["Cluster", job.cluster], ["Reservation", job.reservation],
    ["Nodes", job.node_list ? nodeLinks(app, job) : null],
    ["Exit", exitWords(job)], ["Restarts", job.restarts || null],
    ["Array", job.array_job_id ? `${job.array_job_id}${job.array_task_id !== null ? `, task ${job.array_task_id}` : ""}` : null],
    ["Part of", job.het_job_id ? `job ${job.het_job_id}, component ${job.het_offset}` : null],
    ["Priority", job.state === "PENDING" && job.priority !== null ? count(job.priority) : null],
    ["Dependency", job.dependency], ["Features", job.features],
    ["Working folder", job.work_dir && h("span", {class: "mono"}, job.work_dir)], ["Command", job.command && h("span", {class: "mono"}, job.command)],
    ["Comment", job.comment],
  ])
}

function nodeLinks(app, job) {
  const one = /^[\w.-]+$/.test(job.node_list)
  return one ? go(app, `/cluster?node=${encodeURIComponent(job.node_list)}`, {}, job.node_list) : h("span", {class: "mono"}, job.node_list)
}

/** 0:0 says that all went well; else status or signal in words. */
export function exitWords(job) {
  if (!job.exit_code || (job.running && job.exit_code === "0:0") || job.state === "PENDING") return null
  const [status, signal] = job.exit_code.split(":").map(Number)
  if (signal) return `ended by signal ${signal}${SIGNALS[signal] ? ` (${SIGNALS[signal]})` : ""}`
  if (!status) return "0: no error"
  return `${status}: ${STATUSES[status] || "an error that the script knows"}`
}

const SIGNALS = {1: "hang-up", 2: "interrupt", 6: "abort", 7: "bus error", 9: "kill", 11: "segmentation fault", 15: "terminate", 24: "CPU time limit", 25: "file size limit"}
const STATUSES = {1: "a general error", 2: "wrong use of a command", 126: "a command that may not be run", 127: "a command that was not found", 130: "interrupted", 134: "aborted", 137: "killed, often for memory", 139: "segmentation fault", 143: "terminated"}
