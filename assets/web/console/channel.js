// The way to the server: questions with answers, and topics that are pushed. Both ride on the page's one websocket
// as Panel messages; the payload is JSON made once on the server.

const ANSWER_TIMEOUT_MS = 30000

export class Channel {
  constructor(onchange) {
    this.model = null // comes when Panel's scripts have run and the websocket stands
    this.unsent = []
    this.onchange = onchange // (topic, whether it changed just now; else it may have been made long ago) => void
    this.topics = new Map() // key → {v, data}
    this.wanted = []
    this.waiting = new Map()
    this.next = 1
  }

  /** The way is open, for the first time or anew after it was lost for long. */
  attach(model) {
    this.model = model
    model.on("msg:custom", (raw) => this.receive(raw))
    this.want(this.wanted)
    for (const message of this.unsent.splice(0)) model.send_msg(message)
  }

  /** What is known of a topic, or null. */
  get(key) {
    const topic = this.topics.get(key)
    return topic ? topic.data : null
  }

  put(key, v, data) {
    this.topics.set(key, {v, data})
  }

  /** Watch these topics from now on, and no others. */
  want(keys) {
    this.wanted = keys
    if (!this.model) return
    const have = {}
    for (const key of keys) if (this.topics.has(key)) have[key] = this.topics.get(key).v
    this.post(0, "topics", {keys, have})
  }

  post(id, action, args) {
    const message = {id, do: action, with: args}
    if (this.model) this.model.send_msg(message)
    else this.unsent.push(message)
  }

  /** Ask; resolves with the answer, rejects with an Error whose message is for the person. */
  call(action, args = {}) {
    const id = this.next++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id)
        reject(new Error("The console did not answer. Check the connection and try again."))
      }, ANSWER_TIMEOUT_MS)
      this.waiting.set(id, {resolve, reject, timer})
      this.post(id, action, args)
    })
  }

  receive(raw) {
    for (const message of JSON.parse(raw)) {
      if (message.re !== undefined) this.answer(message)
      else this.topic(message)
    }
  }

  answer(message) {
    const waiting = this.waiting.get(message.re)
    if (!waiting) return
    this.waiting.delete(message.re)
    clearTimeout(waiting.timer)
    if (message.error === undefined) {
      waiting.resolve(message.ok)
      return
    }
    if (message.error === "signed-out") {
      location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search))
      return
    }
    const error = new Error(message.error)
    error.problems = message.problems || []
    waiting.reject(error)
  }

  topic(message) {
    if (message.full !== undefined) {
      this.put(message.t, message.v, message.full)
    } else {
      const known = this.topics.get(message.t)
      if (!known || known.v !== message.from) {
        // A gap: ask for the whole again.
        this.topics.delete(message.t)
        this.want(this.wanted)
        return
      }
      const data = {...known.data, ...message.set}
      for (const section in message.keyed || {}) {
        const rows = {...data[section], ...message.keyed[section].set}
        for (const gone of message.keyed[section].del) delete rows[gone]
        data[section] = rows
      }
      this.put(message.t, message.v, data)
    }
    this.onchange(message.t, message.full === undefined)
  }
}
