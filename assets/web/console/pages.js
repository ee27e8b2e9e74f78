// The pages' scripts, a file each. One comes when one first goes there, or before that when the browser has nothing
// else to do, so that the first picture waits for its own page's alone.
import {h} from "./dom.js"
import {empty, skeleton} from "./ui.js"

const loaded = {}
const failed = new Map() // name → why

export const isLoaded = (name) => name in loaded

/** The page called `name`: its script's functions, or what stands in its place until that is there. */
export const page = (name, title) => loaded[name] || {
  title,
  topics: () => [],
  view: () => ({body: [
    h("div", {class: "head", key: "head"}, h("h1", {}, title)),
    failed.has(name) ? missing(failed.get(name)) : skeleton(8),
  ]}),
}

const missing = (error) =>
  empty("This page could not be loaded", `Its script did not come from the console (${error.message}). Check the connection, then load it again.`,
    h("button", {type: "button", class: "button primary", onclick: () => location.reload()}, "Load again"))

/** Fetch and run a page's script, if that has not been done. Does not reject: the page tells of it. */
export async function load(name) {
  if (loaded[name]) return
  try {
    loaded[name] = await import(`./${name}.js`)
    failed.delete(name)
  } catch (error) {
    failed.set(name, error)
  }
}

/** All these, one at a time, whenever there is nothing else to do. */
export async function loadAhead(names) {
  for (const name of names) {
    await new Promise((done) => (globalThis.requestIdleCallback ? requestIdleCallback(done) : setTimeout(done, 200)))
    await load(name)
  }
}
