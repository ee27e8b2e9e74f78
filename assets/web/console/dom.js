// A small keyed DOM: views are functions from state to nodes, `patch` makes the page agree and keeps what is
// already there (focus, scroll, selection). Text always lands in text nodes; the only way to markup is `html()`,
// used for the news, which the server has rendered with HTML switched off.

const SVG_NS = "http://www.w3.org/2000/svg"
const SVG_TAGS = new Set(["svg", "path", "circle", "rect", "line", "polyline", "g"])
// Set as properties: the attribute is only the initial value, or listeners and flags that have no attribute.
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "indeterminate", "scrollTop"])

/** A node: h("button", {class: "pill", onclick: f, key: "a"}, "text", [more nodes], null). */
export function h(tag, props, ...children) {
  const flat = []
  flatten(children, flat)
  return {tag, props: props || {}, key: props && props.key, children: flat, el: null}
}

/** A subtree that is only looked at again when `sig` differs: for thousands of tiles or rows. */
export function memo(key, sig, make) {
  return {memo: true, key, sig, make, node: null, el: null}
}

/** Markup that the server has made safe. */
export function html(key, markup, props) {
  return {tag: "div", props: {...props, key}, key, children: [], markup, el: null}
}

function flatten(list, out) {
  for (const item of list) {
    if (item === null || item === undefined || item === false || item === true) continue
    if (Array.isArray(item)) flatten(item, out)
    else if (typeof item === "object") out.push(item)
    else out.push({text: String(item), el: null})
  }
}

function create(node) {
  if (node.memo) {
    node.node = node.make()
    node.el = create(node.node)
    return node.el
  }
  if (node.text !== undefined) {
    node.el = document.createTextNode(node.text)
    return node.el
  }
  const el = SVG_TAGS.has(node.tag) ? document.createElementNS(SVG_NS, node.tag) : document.createElement(node.tag)
  node.el = el
  if (node.markup !== undefined) el.innerHTML = node.markup
  for (const child of node.children) el.appendChild(create(child))
  // After the children: a select's value needs its options.
  for (const name in node.props) set(el, name, node.props[name], undefined)
  if (node.props.onmount) node.props.onmount(el)
  return el
}

function set(el, name, value, old) {
  if (name === "key" || name === "onmount" || name === "onunmount") return
  if (name === "ref") {
    value(el)
  } else if (name.startsWith("on")) {
    if (value !== old) el[name] = value || null
  } else if (PROPERTIES.has(name)) {
    if (name === "value" ? el.value !== String(value ?? "") : el[name] !== value) el[name] = value ?? ""
  } else if (name === "style" && typeof value === "object") {
    for (const part in value) if (!old || old[part] !== value[part]) el.style.setProperty(part, value[part])
    if (old) for (const part in old) if (!(part in value)) el.style.removeProperty(part)
  } else if (value !== old) {
    if (value === false || value === null || value === undefined) el.removeAttribute(name)
    else el.setAttribute(name, value === true ? "" : value)
  }
}

function same(a, b) {
  if (a.key !== b.key) return false
  if (a.memo || b.memo) return !!a.memo && !!b.memo
  if (a.text !== undefined || b.text !== undefined) return a.text !== undefined && b.text !== undefined
  return a.tag === b.tag
}

function unmount(node) {
  if (node.memo) return node.node && unmount(node.node)
  if (node.text !== undefined) return
  if (node.props.onunmount) node.props.onunmount(node.el)
  if (node.props.ref) node.props.ref(null)
  for (const child of node.children) unmount(child)
}

function update(old, node) {
  const el = old.el
  node.el = el
  if (node.memo) {
    if (old.sig === node.sig) {
      node.node = old.node
    } else {
      node.node = node.make()
      if (same(old.node, node.node)) {
        update(old.node, node.node)
      } else {
        unmount(old.node)
        const fresh = create(node.node)
        el.replaceWith(fresh)
        node.el = fresh
      }
    }
    return
  }
  if (node.text !== undefined) {
    if (old.text !== node.text) el.data = node.text
    return
  }
  if (node.markup !== undefined) {
    if (old.markup !== node.markup) el.innerHTML = node.markup
  } else {
    children(el, old.children, node.children)
  }
  for (const name in node.props) set(el, name, node.props[name], old.props[name])
  for (const name in old.props) {
    if (!(name in node.props)) set(el, name, name.startsWith("on") ? null : undefined, old.props[name])
  }
}

function children(parent, before, after) {
  const keyed = new Map()
  const loose = []
  for (const child of before) {
    if (child.key !== undefined && child.key !== null) keyed.set(child.key, child)
    else loose.push(child)
  }
  const used = new Set()
  let next = 0
  const matched = after.map((child) => {
    let old = null
    if (child.key !== undefined && child.key !== null) {
      old = keyed.get(child.key) || null
    } else {
      while (next < loose.length && !old) {
        if (same(loose[next], child)) old = loose[next]
        next += 1
      }
    }
    if (old && (used.has(old) || !same(old, child))) old = null
    if (old) used.add(old)
    return old
  })
  for (const child of before) {
    if (!used.has(child)) {
      unmount(child)
      child.el.remove()
    }
  }
  let cursor = parent.firstChild
  after.forEach((child, index) => {
    const old = matched[index]
    if (old) update(old, child)
    else create(child)
    if (cursor === child.el) cursor = cursor.nextSibling
    else parent.insertBefore(child.el, cursor)
  })
}

/** Make the children of `parent` what `nodes` says. */
export function patch(parent, nodes) {
  const flat = []
  flatten([nodes], flat)
  children(parent, parent._nodes || [], flat)
  parent._nodes = flat
}
