// The node map: nodes grouped by their name, laid out by the page itself. Each node is one button with
// colour, glyph and (where there is room) name, CPU bar and a square for each GPU. Arrow keys walk, Enter opens.
import {h, memo} from "../dom.js"
import {NODE_LOOKS, many, memory, model} from "../format.js"
import {KIND, CPUS, CPUS_USED, MB, MB_USED, GPUS, GPUS_USED, MODEL} from "../columns.js"

const ROOMY_UP_TO = 400 // nodes with name and figures
const COMPACT_UP_TO = 2500 // nodes with their glyph and GPUs; above, the glyph alone

const FEW_GROUPS = 8
const SMALL_GROUP = 80 // groups of so many stand side by side, like racks in a hall

// By all of the name but its last number (racks: r12n034 → r12n); where that tells almost every node apart
// (x1000c0s0b0n0), by one number less (x1000c0s0b → x1000c0s), and so on.
function grouping(rows) {
  for (let less = 1; less < 8; less += 1) {
    const end = new RegExp(`(?:[-_.]?\\d+[a-z]*){1,${less}}$`, "i")
    const place = (name) => name.replace(end, "") || name
    if (new Set(rows.map(([name]) => place(name))).size <= Math.max(FEW_GROUPS, rows.length / 12)) return place
  }
  return (name) => name.replace(/\d+.*$/, "") || name
}

/** The rows by place and GPU model, found once for each list of rows. */
function grouped(rows) {
  if (grouped.rows === rows) return grouped.groups
  const groups = new Map()
  const place = grouping(rows)
  for (const entry of rows) {
    const key = `${place(entry[0])}|${entry[1][GPUS] ? entry[1][MODEL] : ""}`
    if (!groups.has(key)) groups.set(key, [])
    groups.get(key).push(entry)
  }
  Object.assign(grouped, {rows, groups})
  return groups
}

export function nodeMap(app, cluster, rows) {
  const density = rows.length <= ROOMY_UP_TO ? "roomy" : rows.length <= COMPACT_UP_TO ? "compact" : "dense"
  const groups = grouped(rows)
  const open = app.route.query.get("node") || ""
  const walk = app.state.cluster?.walk
  const first = rows.some(([name]) => name === walk) ? walk : rows[0][0]
  const halls = groups.size > FEW_GROUPS && rows.length / groups.size <= SMALL_GROUP
  return h("div", {class: `map ${density}` + (halls ? " halls" : ""), onkeydown: (event) => keys(event), onclick: (event) => {
    const tile = event.target.closest("[data-node]")
    if (tile) app.query({node: tile.dataset.node})
  }},
    [...groups].map(([key, entries]) => {
      const [name, kind] = key.split("|")
      return h("div", {class: "map-group", key, role: "group", "aria-label": `${name}: ${many(entries.length, "node")}`},
        h("p", {class: "map-title"}, h("strong", {}, name), h("span", {class: "quiet-text"}, ` ${many(entries.length, "node")}${kind ? ` · ${entries[0][1][GPUS]} × ${model(kind)}` : ""}`)),
        h("div", {class: "tiles"}, entries.map(([node, row]) => tile(node, row, density, node === open, node === first))))
    }),
    legend(rows.some(([, row]) => row[GPUS])))
}

function tile(name, row, density, open, first) {
  const sig = `${density}|${open}|${first}|${row.join()}`
  return memo(name, sig, () => {
    const [tone, glyph, word] = NODE_LOOKS[row[KIND]] || NODE_LOOKS.unknown
    const words = `${name}: ${word}, ${row[CPUS_USED]} of ${row[CPUS]} CPUs${row[GPUS] ? `, ${row[GPUS_USED]} of ${row[GPUS]} GPUs` : ""} in use`
    const props = {
      type: "button", class: `tile look-${tone}` + (open ? " open" : ""), "data-node": name, "aria-label": words,
      tabindex: first ? "0" : "-1", title: `${words}, ${memory(row[MB_USED])} of ${memory(row[MB])}`,
    }
    if (density === "dense") return h("button", props, glyph)
    if (density === "compact") return h("button", props, h("span", {class: "glyph"}, glyph), gpus(row))
    return h("button", props,
      h("span", {class: "tile-head"}, h("span", {class: "glyph"}, glyph), h("span", {class: "tile-name"}, name)),
      h("span", {class: "tile-cpus"}, h("i", {style: {width: `${row[CPUS] ? (100 * row[CPUS_USED]) / row[CPUS] : 0}%`}})),
      gpus(row))
  })
}

/** Squares: full ones are in use. One element, however many GPUs. */
function gpus(row) {
  if (!row[GPUS]) return null
  const shown = Math.min(row[GPUS], 16)
  const used = Math.round((shown * row[GPUS_USED]) / row[GPUS])
  return h("span", {class: "gpus", style: {"--all": String(shown), "--used": String(used)}})
}

const legend = (gpus_) =>
  h("p", {class: "legend"},
    gpus_ ? h("span", {}, h("span", {class: "gpus", style: {"--all": "2", "--used": "1"}}), " GPU in use, free") : null,
    h("span", {}, h("span", {class: "tile-cpus sample"}, h("i", {style: {width: "60%"}})), " share of CPUs in use"),
    h("span", {}, "Arrow keys move between nodes, Enter opens one."))

function keys(event) {
  const tile = event.target.closest("[data-node]")
  if (!tile) return
  const all = [...event.currentTarget.querySelectorAll("[data-node]")]
  const at = all.indexOf(tile)
  let next
  if (event.key === "ArrowRight") next = all[at + 1]
  else if (event.key === "ArrowLeft") next = all[at - 1]
  else if (event.key === "Home") next = all[0]
  else if (event.key === "End") next = all[all.length - 1]
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") next = vertical(all, at, event.key === "ArrowDown" ? 1 : -1)
  else return
  event.preventDefault()
  if (!next) return
  tile.tabIndex = -1
  next.tabIndex = 0
  next.focus()
}

/** The tile above or below: the nearest in the next row of the layout. */
function vertical(all, at, step) {
  const from = all[at].getBoundingClientRect()
  let best = null
  let bestGap = Infinity
  let line = null
  for (let i = at + step; i >= 0 && i < all.length; i += step) {
    const box = all[i].getBoundingClientRect()
    const distance = step * (box.top - from.top)
    if (distance < from.height / 2) continue
    if (line === null) line = box.top
    if (Math.abs(box.top - line) > 2) break
    const gap = Math.abs(box.left - from.left)
    if (gap < bestGap) {
      bestGap = gap
      best = all[i]
    }
  }
  return best
}

