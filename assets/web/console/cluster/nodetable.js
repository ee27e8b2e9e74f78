// The map's twin: the same nodes as a table, sorted by any column; only the rows in sight are in the document.
import {h} from "../dom.js"
import {NODE_LOOKS, count, memory, model} from "../format.js"
import {go} from "../ui.js"
import {KIND, STATE, PARTS, CPUS, CPUS_USED, MB, MB_USED, GPUS, GPUS_USED, MODEL} from "../columns.js"

const ROW_PX = 34
const WINDOW_PX = 560
const SPARE_ROWS = 12

const COLUMNS = [
  ["name", "Node", (name) => name],
  ["state", "State", (_, row) => row[KIND]],
  ["cpus", "CPUs", (_, row) => row[CPUS_USED] / (row[CPUS] || 1)],
  ["memory", "Memory", (_, row) => row[MB_USED] / (row[MB] || 1)],
  ["gpus", "GPUs", (_, row) => row[GPUS] - row[GPUS_USED] + row[GPUS] / 1000],
  ["partitions", "Partitions", (_, row) => row[PARTS].join()],
]

export function nodeTable(app, cluster, rows) {
  const {query} = app.route
  const own = app.state.cluster
  const sort = query.get("sort") || "name"
  const descending = query.get("desc") === "1"
  const value = (COLUMNS.find(([key]) => key === sort) || COLUMNS[0])[2]
  const order = new Intl.Collator("en", {numeric: true})
  const sorted = sort === "name" && !descending ? rows : [...rows].sort((a, b) => {
    const [x, y] = [value(...a), value(...b)]
    const result = typeof x === "number" ? x - y : order.compare(x, y)
    return (descending ? -result : result) || order.compare(a[0], b[0])
  })
  const top = own.scroll || 0
  const from = Math.max(0, Math.floor(top / ROW_PX) - SPARE_ROWS)
  const to = Math.min(sorted.length, Math.ceil((top + WINDOW_PX) / ROW_PX) + SPARE_ROWS)
  const pick = (key) => app.query({sort: key === "name" ? null : key, desc: sort === key && !descending ? "1" : null}, {replace: true})
  return h("div", {class: "table-wrap tall", tabindex: "0", role: "region", "aria-label": "Table of nodes", onscroll: (event) => {
    const before = Math.floor((own.scroll || 0) / ROW_PX)
    own.scroll = event.currentTarget.scrollTop
    if (Math.abs(before - Math.floor(own.scroll / ROW_PX)) >= 1) app.render()
  }},
    h("table", {class: "table fixed-rows", "aria-rowcount": String(sorted.length + 1)},
      h("thead", {}, h("tr", {}, COLUMNS.map(([key, label]) => h("th", {scope: "col", key, "aria-sort": sort === key ? (descending ? "descending" : "ascending") : "none"},
        h("button", {type: "button", class: "sorter", onclick: () => pick(key)}, label, h("span", {"aria-hidden": "true"}, sort === key ? (descending ? " ↓" : " ↑") : "")))))),
      h("tbody", {},
        from ? h("tr", {key: "before", "aria-hidden": "true", style: {height: `${from * ROW_PX}px`}}, h("td", {colspan: COLUMNS.length})) : null,
        sorted.slice(from, to).map(([name, row], index) => line(app, cluster, name, row, from + index)),
        to < sorted.length ? h("tr", {key: "after", "aria-hidden": "true", style: {height: `${(sorted.length - to) * ROW_PX}px`}}, h("td", {colspan: COLUMNS.length})) : null)))
}

function line(app, cluster, name, row, index) {
  const [tone, glyph, word] = NODE_LOOKS[row[KIND]] || NODE_LOOKS.unknown
  const open = new URLSearchParams(app.route.query)
  open.set("node", name)
  return h("tr", {key: name, "aria-rowindex": String(index + 2)},
    h("th", {scope: "row"}, go(app, `/cluster?${open}`, {}, name)),
    h("td", {title: row[STATE]}, h("span", {class: `swatch look-${tone}`, "aria-hidden": "true"}, glyph), " ", word),
    h("td", {class: "num"}, `${count(row[CPUS_USED])} of ${count(row[CPUS])}`),
    h("td", {class: "num"}, `${memory(row[MB_USED])} of ${memory(row[MB])}`),
    h("td", {class: "num"}, row[GPUS] ? `${row[GPUS] - row[GPUS_USED]} free of ${row[GPUS]} × ${model(row[MODEL])}` : "–"),
    h("td", {}, row[PARTS].map((number) => cluster.partitions[number]?.name).filter(Boolean).join(", ")))
}
