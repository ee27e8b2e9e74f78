// BokehJS, Panel's scripts and the websocket: fetched after the page is drawn, so that nobody waits for them.

// Where the document was loaded from: the websocket belongs there, whatever page one has gone to since.
const path = location.pathname

/** Run the scripts that the document holds in its template, in their order. */
export async function goLive() {
  const held = document.getElementById("carme-live").content
  const nonce = document.querySelector("script[nonce]")?.nonce
  for (const script of held.querySelectorAll("script[src]")) preload(script.getAttribute("src"), nonce)
  for (const node of held.querySelectorAll("link, style, script")) await run(node, nonce)
}

function preload(href, nonce) {
  const link = document.createElement("link")
  Object.assign(link, {rel: "preload", as: "script", href})
  if (nonce) link.nonce = nonce
  document.head.append(link)
}

function run(node, nonce) {
  const made = document.createElement(node.localName)
  for (const {name, value} of node.attributes) if (name !== "nonce") made.setAttribute(name, value)
  if (nonce) made.nonce = nonce
  made.async = false
  if (!node.getAttribute("src")) {
    made.textContent = node.textContent.replace("embed_items(docs_json, render_items)", `embed_items(docs_json, render_items, ${JSON.stringify(path)})`)
    document.head.append(made)
    return null
  }
  return new Promise((done) => {
    made.onload = made.onerror = done
    document.head.append(made)
  })
}
