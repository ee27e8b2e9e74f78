// Cluster: totals, the node map or its table, partitions, reservations, one node in a drawer. The whole state of the
// page is in its address.
import {h} from "./dom.js"
import {NODE_LOOKS, ago, ahead, count, full, many, memory, model, now, percent, span, when} from "./format.js"
import {GPUS, KIND, MODEL, PARTS} from "./columns.js"
import {icon} from "./icons.js"
import {nodeMap} from "./cluster/nodemap.js"
import {nodeTable} from "./cluster/nodetable.js"
import {jobList} from "./joblist.js"
import {badge, drawer, empty, facts, go, meter, skeleton, stat, toggle} from "./ui.js"

export const title = "Cluster"
export const topics = () => ["cluster", "home"]

const FILTERS_FROM = 6 // fewer nodes are seen at a glance

const state = (app) => (app.state.cluster ??= {detail: null, error: "", asked: ""})

export const enter = (app) => look(app)
export const moved = (app) => look(app)

export function arrived(app, topic) {
  if (topic === "cluster") look(app, true)
}

/** Fetch the drawer's node, again when the cluster has changed. */
function look(app, again = false) {
  const name = app.route.query.get("node") || ""
  const own = state(app)
  if (!name) {
    own.detail = null
    own.asked = ""
    return
  }
  if (own.asked === name && !again) return
  if (own.asked !== name) {
    own.detail = null
    own.error = ""
  }
  own.asked = name
  app.call("cluster.node", {name}).then((detail) => {
    if (own.asked !== name) return
    own.detail = detail
    own.error = ""
    app.render()
  }, (error) => {
    if (own.asked !== name) return
    own.error = error.message
    app.render()
  })
}

/** The nodes that the pills leave, as [name, row], in the order of their names. */
export function filtered(cluster, query) {
  const cache = filtered.cache
  const key = `${query.get("state") || ""}|${query.get("partition") || ""}|${query.get("gpu") || ""}|${query.get("find") || ""}`
  if (cache && cache.nodes === cluster.nodes && cache.key === key) return cache.rows
  const kinds = query.getAll("state").join(",").split(",").filter(Boolean)
  const partition = query.get("partition")
  const number = partition ? cluster.partitions.findIndex((entry) => entry.name === partition) : -1
  const gpu = query.get("gpu")
  const find = (query.get("find") || "").toLowerCase()
  const order = new Intl.Collator("en", {numeric: true})
  const rows = Object.entries(cluster.nodes).filter(([name, row]) =>
    (!kinds.length || kinds.includes(row[KIND])) &&
    (!partition || row[PARTS].includes(number)) &&
    (!gpu || (gpu === "any" ? row[GPUS] > 0 : gpu === "none" ? row[GPUS] === 0 : row[MODEL] === gpu)) &&
    (!find || name.toLowerCase().includes(find)))
  rows.sort((a, b) => order.compare(a[0], b[0]))
  filtered.cache = {nodes: cluster.nodes, key, rows}
  return rows
}

export function view(app) {
  const cluster = app.topic("cluster")
  const overview = app.topic("home")
  const name = app.route.query.get("node")
  return {
    body: [
      h("div", {class: "head"}, h("h1", {}, "Cluster"),
        h("p", {class: "sub"}, overview && overview.totals.nodes ? `${many(overview.totals.nodes, "node")}, ${count(overview.totals.nodes_idle)} idle${overview.totals.nodes_down ? `, ${count(overview.totals.nodes_down)} unavailable` : ""}` : " ")),
      totals(overview),
      cluster ? nodes(app, cluster) : h("section", {class: "block", key: "nodes"}, skeleton(8)),
      cluster ? partitions(app, cluster) : null,
      cluster ? reservations(cluster) : null,
    ],
    over: name ? node(app, cluster, name) : null,
  }
}

function totals(overview) {
  if (!overview || !overview.totals.nodes) return null
  const {totals: sums, queue} = overview
  return h("section", {class: "block strip", "aria-label": "Totals", key: "totals"},
    total("CPUs", sums.cpus_allocated, sums.cpus, sums.cpus_down, count),
    sums.gpus ? total("GPUs", sums.gpus_allocated, sums.gpus, sums.gpus_down, count) : null,
    total("Memory", sums.memory_allocated_mb, sums.memory_mb, 0, memory),
    total("Nodes", sums.nodes_busy, sums.nodes, sums.nodes_down, count),
    stat(`${count(queue.running)}`, "jobs running"), stat(`${count(queue.pending)}`, "jobs pending"))
}

function total(label, used, all, off, write) {
  const words = `${write(used)} of ${write(all)}`
  return h("div", {class: "total", key: label},
    meter({label, used, total: all, off, words: `${percent(used, all)} %`}), h("span", {class: "total-words num"}, `${words} in use`))
}

// -- nodes -------------------------------------------------------------------------------------------------

function nodes(app, cluster) {
  const all = Object.values(cluster.nodes)
  const {query} = app.route
  const rows = filtered(cluster, query)
  const table = query.get("view") === "table"
  return h("section", {class: "block", "aria-labelledby": "cluster-nodes", key: "nodes"},
    h("div", {class: "block-head"},
      h("h2", {id: "cluster-nodes"}, "Nodes"),
      h("div", {class: "head-tools"},
        h("div", {class: "segmented", role: "group", "aria-label": "Show nodes as"},
          h("button", {type: "button", "aria-pressed": String(!table), onclick: () => app.query({view: null}, {replace: true})}, icon("grid"), "Map"),
          h("button", {type: "button", "aria-pressed": String(table), onclick: () => app.query({view: "table"}, {replace: true})}, icon("table"), "Table")))),
    all.length ? [
      all.length >= FILTERS_FROM ? filters(app, cluster, all) : null,
      h("p", {class: "quiet-text result-count", role: "status"}, rows.length === all.length ? `${many(all.length, "node")}` : `${count(rows.length)} of ${many(all.length, "node")}`),
      rows.length === 0 ? empty("No node matches", "Take a filter away to see more.", h("button", {type: "button", class: "button", onclick: () => app.query({state: null, partition: null, gpu: null, find: null})}, "Clear filters"))
        : table ? nodeTable(app, cluster, rows) : nodeMap(app, cluster, rows),
    ] : empty("No nodes yet", "They appear with the first answer of the scheduler."))
}

function filters(app, cluster, all) {
  const {query} = app.route
  const kinds = new Map()
  const gpus = new Map()
  for (const row of all) {
    kinds.set(row[KIND], (kinds.get(row[KIND]) || 0) + 1)
    if (row[GPUS]) gpus.set(row[MODEL], (gpus.get(row[MODEL]) || 0) + 1)
  }
  const chosen = (query.get("state") || "").split(",").filter(Boolean)
  const flip = (kind) => {
    const next = chosen.includes(kind) ? chosen.filter((item) => item !== kind) : [...chosen, kind]
    app.query({state: next.join(",")}, {replace: true})
  }
  const only = (name, value) => app.query({[name]: query.get(name) === value ? null : value}, {replace: true})
  return h("div", {class: "filters"},
    h("div", {class: "filter", role: "group", "aria-label": "State"}, h("span", {class: "filter-label"}, "State"),
      Object.keys(NODE_LOOKS).filter((kind) => kinds.has(kind)).map((kind) => {
        const [tone, glyph, word] = NODE_LOOKS[kind]
        return h("button", {type: "button", class: `pill look-${tone}`, key: kind, "aria-pressed": String(chosen.includes(kind)), onclick: () => flip(kind)},
          h("span", {class: "swatch", "aria-hidden": "true"}, glyph), word, h("span", {class: "pill-note num"}, count(kinds.get(kind))))
      }),
      h("span", {class: "find", key: "find"}, icon("search"),
        h("input", {type: "search", "aria-label": "Find nodes by name", placeholder: "Node name", value: query.get("find") || "", oninput: (event) => app.query({find: event.target.value.trim()}, {replace: true})}))),
    cluster.partitions.length > 1 ? h("div", {class: "filter", role: "group", "aria-label": "Partition"}, h("span", {class: "filter-label"}, "Partition"),
      cluster.partitions.slice(0, 24).map((entry) => h("span", {key: entry.name, class: "pill-wrap"}, toggle(entry.name, query.get("partition") === entry.name, () => only("partition", entry.name), entry.nodes)))) : null,
    gpus.size ? h("div", {class: "filter", role: "group", "aria-label": "GPU"}, h("span", {class: "filter-label"}, "GPU"),
        h("span", {class: "pill-wrap", key: "any"}, toggle("any", query.get("gpu") === "any", () => only("gpu", "any"))),
        [...gpus].sort((a, b) => b[1] - a[1]).map(([kind, number]) => h("span", {class: "pill-wrap", key: `g-${kind}`}, toggle(model(kind), query.get("gpu") === kind, () => only("gpu", kind), number))),
        h("span", {class: "pill-wrap", key: "none"}, toggle("none", query.get("gpu") === "none", () => only("gpu", "none")))) : null)
}

// -- partitions and reservations ---------------------------------------------------------------------------

function partitions(app, cluster) {
  const cell = (label, content, props) => h("td", {"data-label": label, ...props}, content)
  return h("section", {class: "block", "aria-labelledby": "cluster-partitions", key: "partitions"},
    h("div", {class: "block-head"}, h("h2", {id: "cluster-partitions"}, "Partitions")),
    cluster.partitions.length === 0 ? empty("No partitions yet") :
      h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of partitions"}, h("table", {class: "table stack"},
        h("thead", {}, h("tr", {}, ["Partition", "Nodes", "CPUs in use", "GPUs in use", "Jobs", "Time limit", "Open to"].map((name) => h("th", {scope: "col", key: name}, name)))),
        h("tbody", {}, cluster.partitions.map((entry) => h("tr", {key: entry.name},
          h("th", {scope: "row"}, go(app, `/cluster?partition=${encodeURIComponent(entry.name)}`, {}, entry.name),
            entry.default ? h("span", {class: "tag"}, "default") : null,
            entry.state !== "UP" ? h("span", {class: "badge bad"}, h("span", {class: "glyph", "aria-hidden": "true"}, "✕"), entry.state.toLowerCase()) : null),
          cell("Nodes", `${count(entry.nodes_idle)} idle of ${count(entry.nodes)}`, {class: "num"}),
          cell("CPUs in use", bar(entry.cpus_allocated, entry.cpus)),
          cell("GPUs in use", entry.gpus ? bar(entry.gpus_allocated, entry.gpus) : h("span", {class: "quiet-text"}, "none")),
          cell("Jobs", `${count(entry.running)} running, ${count(entry.pending)} pending`, {class: "num"}),
          cell("Time limit", [span(entry.max_time_s), entry.max_nodes !== null ? h("span", {class: "quiet-text"}, `, ${many(entry.max_nodes, "node")} a job`) : null]),
          cell("Open to", access(entry))))))))
}

const bar = (used, all) => h("span", {class: "bar-cell"}, h("span", {class: "bar-track", "aria-hidden": "true"}, h("i", {style: {width: `${percent(used, all)}%`}})), h("span", {class: "num"}, `${count(used)} of ${count(all)}`))

function access(entry) {
  const words = []
  if (entry.allow_accounts) words.push(`accounts ${entry.allow_accounts.join(", ")}`)
  if (entry.deny_accounts?.length) words.push(`not accounts ${entry.deny_accounts.join(", ")}`)
  if (entry.allow_groups) words.push(`groups ${entry.allow_groups.join(", ")}`)
  if (entry.allow_qos) words.push(`QOS ${entry.allow_qos.join(", ")}`)
  return words.length ? words.join("; ") : "everyone"
}

function reservations(cluster) {
  if (!cluster.reservations.length) return null
  const rows = [...cluster.reservations].sort((a, b) => a.start_s - b.start_s)
  return h("section", {class: "block", "aria-labelledby": "cluster-reservations", key: "reservations"},
    h("div", {class: "block-head"}, h("h2", {id: "cluster-reservations"}, "Reservations")),
    h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of reservations"}, h("table", {class: "table stack"},
      h("thead", {}, h("tr", {}, ["Name", "When", "Nodes", "For"].map((name) => h("th", {scope: "col", key: name}, name)))),
      h("tbody", {}, rows.map((row) => {
        const active = row.start_s <= now() && now() < row.end_s
        return h("tr", {key: row.name},
          h("th", {scope: "row"}, row.name, (row.flags || []).includes("MAINT") ? h("span", {class: "tag"}, "maintenance") : null),
          h("td", {"data-label": "When"}, badge(active ? ["busy", "●"] : ["wait", "◷"], active ? "Now" : "Later"), " ", h("span", {class: "num"}, `${when(row.start_s)} – ${when(row.end_s)}`), h("span", {class: "quiet-text"}, active ? ` ends ${ahead(row.end_s)}` : ` starts ${ahead(row.start_s)}`)),
          h("td", {"data-label": "Nodes"}, h("span", {class: "num"}, count(row.nodes)), " ", h("span", {class: "mono quiet-text"}, row.node_list)),
          h("td", {"data-label": "For"}, [...(row.users || []), ...(row.accounts || []).map((name) => `account ${name}`)].join(", ") || "–"))
      })))))
}

// -- one node ----------------------------------------------------------------------------------------------

function node(app, cluster, name) {
  const {detail, error} = state(app)
  const close = () => app.query({node: null})
  const look_ = detail ? NODE_LOOKS[detail.kind] || NODE_LOOKS.unknown : null
  const tones = {free: "good", part: "busy", full: "busy", bad: "bad", off: "over", held: "wait"}
  return drawer(app, {
    key: "node-drawer", title: name, onclose: close,
    sub: detail ? [badge([tones[look_[0]], look_[1], look_[2]]), " ", h("span", {class: "mono"}, [detail.state, ...detail.flags].join("+"))] : null,
    body: error ? empty("Nothing to show", error) : !detail ? skeleton(8) : [
      detail.reason ? h("div", {class: "notice wait", key: "reason"}, icon("warn"), h("div", {},
        h("strong", {}, detail.reason), h("p", {}, `${detail.reason_user ? `by ${detail.reason_user}` : ""}${detail.reason_s ? `, since ${full(detail.reason_s)} (${ago(detail.reason_s)})` : ""}`))) : null,
      h("div", {class: "meters", key: "meters"},
        meter({label: "CPUs", used: detail.cpus_allocated, total: detail.cpus, words: `${count(detail.cpus_allocated)} of ${count(detail.cpus)}${detail.cpu_load !== null ? `, load ${detail.cpu_load}` : ""}`}),
        meter({label: "Memory", used: detail.memory_allocated_mb, total: detail.memory_mb, words: `${memory(detail.memory_allocated_mb)} of ${memory(detail.memory_mb)}`}),
        detail.gpu_types.map((gpu) => meter({label: model(gpu.type), used: gpu.allocated, total: gpu.total, words: `${count(gpu.allocated)} of ${count(gpu.total)}`}))),
      h("div", {key: "jobs"}, h("h3", {}, "Jobs on it"),
        detail.jobs.length ? jobList(app, detail.jobs) : h("p", {class: "quiet-text"}, detail.hidden_jobs ? "" : "None at the moment."),
        detail.hidden_jobs ? h("p", {class: "quiet-text"}, `${many(detail.hidden_jobs, "job")} of other people.`) : null),
      h("div", {key: "facts"}, h("h3", {}, "Facts"), facts([
        ["Partitions", detail.partitions.join(", ")],
        ["Features", (detail.features || []).join(", ")],
        ["Address", detail.address],
        ["Slurm", detail.version],
        ["Booted", detail.boot_s ? `${full(detail.boot_s)} (${ago(detail.boot_s)})` : null],
        ["slurmd started", detail.slurmd_s ? full(detail.slurmd_s) : null],
      ])),
    ],
  })
}

