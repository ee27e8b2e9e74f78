// What the page calls states and devices, and the colour of a line.
import {JOB_STATES} from "../format.js"

// Ends of an attempt that are none of the job.
export const STATES = {...JOB_STATES, REQUEUED: ["over", "↻", "Requeued"], RESIZING: ["over", "↔", "Resized"], REVOKED: ["over", "⊘", "Revoked"]}

/** The address of a job's page. */
export const jobHref = (job) => {
  const query = new URLSearchParams({id: job.job_id})
  if (job.cluster) query.set("cluster", job.cluster)
  if (job.origin_s) query.set("submit", job.origin_s)
  return `/job?${query}`
}

// As pages/parts/charts/look.py: told apart by people who see red and green alike.
const LIGHT = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#6a3d9a", "#8c8c2a"]
const DARK = ["#4fa3e0", "#f0b429", "#2fbf95", "#e29bc0", "#8fd0f5", "#f0803c", "#a98be0", "#b9b34f"]
const SCALE_LIGHT = ["#e6ebfa", "#cdd7f5", "#a9bbee", "#7d97e3", "#5474d4", "#3150c9", "#1f3590"]
const SCALE_DARK = ["#1e2433", "#26345c", "#2f4685", "#3e5db0", "#5c7cd6", "#8fa8ff", "#c9d5ff"]

/** Colours of the theme, as plain values: a canvas knows no style sheet. */
export const look = (dark) => ({
  dark,
  series: dark ? DARK : LIGHT,
  scale: dark ? SCALE_DARK : SCALE_LIGHT,
  ink: dark ? "#b6bdca" : "#4a5261",
  strong: dark ? "#e9ecf2" : "#171a21",
  grid: dark ? "#2a303c" : "#e6e9ee",
  ground: dark ? "#181c24" : "#ffffff",
  raised: dark ? "#1e232d" : "#ffffff",
  edge: dark ? "#3d4554" : "#c6cbd5",
  limit: dark ? "#ff9a90" : "#b3261e",
  none: dark ? "#3d4554" : "#c6cbd5",
})

const KINDS = {node: "whole node"}

/** GPU 0, GPU 0 slice 1, scratch, whole node; the job as a whole is "". */
export function deviceName(device) {
  const gpu = /^gpu:(\d+)(?::(\d+))?$/.exec(device)
  if (gpu) return `GPU ${gpu[1]}${gpu[2] === undefined ? "" : ` slice ${gpu[2]}`}`
  if (device.startsWith("fs:")) return device.slice(3)
  return KINDS[device] || ""
}

/** A line's name: with its node where there are several. */
export function lineName(node, device, severalNodes) {
  const name = deviceName(device)
  if (device === "node") return node
  if (!severalNodes) return name || node
  return name ? `${node} · ${name}` : node
}

/** Colour and dash of a line: by its place in the chart, or the one it has in all charts (`place`). */
export const strokeOf = (look, chart, line) => stroke(look, line.place ?? chart.lines.indexOf(line))
const stroke = (look, index) => ({colour: look.series[index % look.series.length], dash: index >= look.series.length ? [5, 3] : []})
