// What a notebook may try: served from an app's own origin by the real app, run there. Nothing here is mocked.
"use strict"
const wait = (ms) => new Promise((done) => setTimeout(done, ms))
const within = (promise, ms = 4000) => Promise.race([promise, wait(ms).then(() => "nothing")])

// "" when nothing came back, else what could be read
const ways = {
  fetch: async (url) => (await fetch(url, {credentials: "include"})).text(),
  fetchBlind: async (url) => (await fetch(url, {credentials: "include", mode: "no-cors"})).text(),
  fetchPost: async (url) =>
    (await fetch(url, {method: "POST", credentials: "include", mode: "no-cors", body: "csrf=x"})).text(),
  fetchHeader: async (url, extra) =>
    (await fetch(url, {method: "POST", credentials: "include", headers: {"X-CSRF-Token": extra}, body: "{}"})).text(),
  xhr: (url) => new Promise((done, fail) => {
    const asked = new XMLHttpRequest()
    asked.open("GET", url)
    asked.withCredentials = true
    asked.onload = () => done(asked.responseText)
    asked.onerror = () => fail(new Error("refused"))
    asked.send()
  }),
  beacon: async (url) => { navigator.sendBeacon(url, "csrf=x"); return "" },
  eventSource: (url) => new Promise((done, fail) => {
    const source = new EventSource(url, {withCredentials: true})
    source.onmessage = (event) => done(event.data)
    source.onopen = () => done("open")
    source.onerror = () => { source.close(); fail(new Error("refused")) }
  }),
  socket: (url, extra) => new Promise((done, fail) => {
    const socket = new WebSocket(url.replace(/^http/, "ws"), extra ? ["bokeh", extra] : [])
    socket.onopen = () => done("open")
    socket.onmessage = (event) => done(String(event.data))
    socket.onerror = () => fail(new Error("refused"))
  }),
  script: (url) => new Promise((done, fail) => {
    const node = document.createElement("script")
    node.onload = () => done("loaded")
    node.onerror = () => fail(new Error("refused"))
    node.src = url
    document.head.append(node)
  }),
  module: async (url) => Object.keys(await import(url)).join() || "loaded",
  worker: (url) => new Promise((done, fail) => {
    const text = `try { importScripts(${JSON.stringify(url)}); postMessage("loaded") } catch { postMessage("") }`
    const worker = new Worker(URL.createObjectURL(new Blob([text], {type: "text/javascript"})))
    worker.onmessage = (event) => event.data ? done(event.data) : fail(new Error("refused"))
    worker.onerror = () => fail(new Error("refused"))
  }),
  image: (url) => new Promise((done, fail) => {
    const node = new Image()
    node.onload = () => done("loaded")
    node.onerror = () => fail(new Error("refused"))
    node.src = url
  }),
  frame: async (url) => {
    const node = document.createElement("iframe")
    node.src = url
    document.body.append(node)
    await wait(700)
    return node.contentDocument?.body?.innerText || ""
  },
  opened: async (url) => {
    const handle = window.open(url, "_blank")
    if (!handle) return ""
    await wait(1500)
    try { handle.postMessage("hello", "*") } catch { /* no handle at all */ }
    let read = ""
    try { read = handle.document.body.innerText } catch { /* another origin */ }
    const held = !handle.closed
    handle.close()
    return read || (held ? "a handle" : "")
  },
  form: async (url) => {
    const frame = document.createElement("iframe")
    frame.name = "f" + Math.random()
    const form = document.createElement("form")
    Object.assign(form, {method: "post", action: url, target: frame.name})
    form.innerHTML = '<input name="csrf" value="x">'
    document.body.append(frame, form)
    form.submit()
    await wait(700)
    try { return frame.contentDocument?.body?.innerText || "" } catch { return "" }
  },
}

window.attempt = async (way, url, extra = "") => {
  try { return await within(Promise.resolve(ways[way](url, extra))) } catch { return "" }
}
window.attemptAll = async (names, urls, extra = "") => {
  const got = {}
  await Promise.all(names.flatMap((way) => urls.map(async (url) => {
    const read = await window.attempt(way, url, extra)
    if (read && read !== "nothing") got[`${way} ${url}`] = String(read).slice(0, 200)
  })))
  return got
}
