// What a person writes down: tags and notes on jobs, names of filters; and what is done to several jobs at once.
import {h} from "../dom.js"
import {count, many} from "../format.js"
import {field} from "../ui.js"

const AT_ONCE = 10 // jobs of one request: results come in as it goes
const SHOWN = 50 // jobs that a question lists by name
const WORDS = {
  cancel: ["Cancel", "are cancelled. Running ones end at once; what they have not written is lost.", "Cancelling", "cancelled"],
  hold: ["Hold", "don’t start until they are released.", "Holding", "held"],
  release: ["Release", "may start again.", "Releasing", "released"],
}

export const keyOf = (job) => [job.cluster, job.job_id, job.origin_s ?? job.submit_s]

// -- tags and the note of one job ------------------------------------------------------------------------------

export function editMarks(app, job, onchange) {
  const draft = {tag: "", note: job.note, problem: "", busy: false}
  const send = async (action, args) => {
    draft.busy = true
    draft.problem = ""
    app.render()
    try {
      const answer = await app.call(action, {jobs: [keyOf(job)], ...args})
      const found = answer.jobs ? answer.jobs[0] : answer
      if (found.problem) throw new Error(found.problem)
      if (answer.jobs) job.tags = found.tags
      else Object.assign(job, {note: found.note, note_by: found.note_by})
      onchange?.()
      return true
    } catch (error) {
      draft.problem = error.message
      return false
    } finally {
      draft.busy = false
      app.render()
    }
  }
  const add = async (event) => {
    event.preventDefault()
    if (draft.tag.trim() && await send("jobs.tag", {add: draft.tag.split(",").map((tag) => tag.trim()).filter(Boolean)})) draft.tag = ""
    app.render()
  }
  const close = () => app.closeDialog()
  app.ask(() => ({
    key: "marks", title: `Tags and note of job ${job.label}`, onclose: close,
    body: [
      h("form", {key: "tags", onsubmit: add}, field({id: "marks-tag", label: "Tags", problem: draft.problem, hint: "Words in small letters, to find the job again. Whoever may see the job sees them.", control: [
        h("div", {class: "inline"}, job.tags.map((tag) => h("button", {type: "button", class: "pill", key: tag, "aria-pressed": "true", "aria-label": `Take off tag ${tag}`, disabled: draft.busy, onclick: () => send("jobs.tag", {remove: [tag]})}, tag, h("span", {"aria-hidden": "true"}, "✕")))),
        h("div", {class: "inline"}, h("input", {id: "marks-tag", type: "text", "data-first": "", class: "value-input", maxlength: 200, value: draft.tag, "aria-describedby": "marks-tag-hint", oninput: (event) => { draft.tag = event.target.value }}),
          h("button", {type: "submit", class: "button", disabled: draft.busy}, "Add"))]})),
      field({id: "marks-note", label: "Note", hint: job.note_by ? `Last written by ${job.note_by}.` : null, control:
        h("textarea", {id: "marks-note", rows: 5, maxlength: 4000, value: draft.note, oninput: (event) => { draft.note = event.target.value }})}),
    ],
    actions: [h("button", {type: "button", class: "button", onclick: close}, "Close"),
      h("button", {type: "button", class: "button primary", disabled: draft.busy, onclick: async () => {
        if (draft.note.trim() === job.note.trim() || await send("jobs.note", {note: draft.note})) close()
      }}, "Save")],
  }))
}

// -- saved filters ---------------------------------------------------------------------------------------------

export function loadFilters(app, own) {
  return app.call("jobs.filters").then((answer) => {
    own.filters = answer.filters
    app.render()
    return answer.filters
  }, (error) => { app.toast(error.message, "bad"); return [] })
}

export function saveFilter(app, own, query) {
  named(app, {title: "Save these filters", name: "", save: async (name) => {
    await app.call("jobs.filter-save", {name, query})
    await loadFilters(app, own)
  }})
}

export function editFilter(app, own, filter) {
  const act = async (action, args, words) => {
    try {
      await app.call(action, {id: filter.id, ...args})
      app.toast(words, "good")
    } catch (error) {
      app.toast(error.message, "bad")
    }
    app.closeDialog()
    loadFilters(app, own)
  }
  named(app, {title: `Filter ${filter.name}`, name: filter.name, save: async (name) => {
    await app.call("jobs.filter-rename", {id: filter.id, name})
    await loadFilters(app, own)
  }, more: [
    h("button", {type: "button", class: "button", key: "start", onclick: () => act("jobs.filter-start", {start: !filter.start}, filter.start ? "The Jobs page begins with the queue." : `The Jobs page begins with ${filter.name}.`)}, filter.start ? "Begin with the queue" : "Begin with it"),
    h("button", {type: "button", class: "button danger", key: "delete", onclick: () => act("jobs.filter-delete", {}, `${filter.name} is deleted.`)}, "Delete"),
  ]})
}

function named(app, {title, name, save, more = []}) {
  const draft = {name, problem: "", busy: false}
  const close = () => app.closeDialog()
  const done = async (event) => {
    event?.preventDefault()
    draft.busy = true
    app.render()
    try {
      await save(draft.name)
      close()
    } catch (error) {
      draft.problem = error.message
      draft.busy = false
      app.render()
    }
  }
  app.ask(() => ({
    key: "filter", title, onclose: close,
    body: h("form", {onsubmit: done}, field({id: "filter-name", label: "Name", problem: draft.problem, control:
      h("input", {id: "filter-name", type: "text", "data-first": "", maxlength: 80, value: draft.name, oninput: (event) => { draft.name = event.target.value }})})),
    actions: [...more, h("button", {type: "button", class: "button", onclick: close}, "Back"),
      h("button", {type: "button", class: "button primary", disabled: draft.busy, onclick: done}, "Save")],
  }))
}

// -- several jobs at once --------------------------------------------------------------------------------------

const listed = (jobs) => h("ul", {class: "bulk-list"}, jobs.slice(0, SHOWN).map((job) => h("li", {key: `${job.job_id}-${job.label}`}, h("span", {class: "num"}, job.label), " ", h("span", {class: "job-name"}, job.name), h("span", {class: "quiet-text"}, ` ${job.user}`))),
  jobs.length > SHOWN ? h("li", {key: "more", class: "quiet-text"}, `and ${many(jobs.length - SHOWN, "more job")}`) : null)

/** One question for all of them that says what happens, then a result for each. */
export function bulk(app, what, jobs, ondone) {
  const [verb, happens, doing, done] = WORDS[what]
  const run = {busy: false, over: false, results: new Map()}
  const close = () => { app.closeDialog(); if (run.over) ondone() }
  const start = async () => {
    run.busy = true
    app.render()
    for (let at = 0; at < jobs.length; at += AT_ONCE) {
      const some = jobs.slice(at, at + AT_ONCE)
      try {
        const answer = await app.call("jobs.bulk", {what, ids: some.map((job) => job.job_id)})
        for (const each of answer.jobs) run.results.set(each.job_id, each.problem)
      } catch (error) {
        for (const job of some) run.results.set(job.job_id, error.message)
      }
      app.render()
    }
    run.busy = false
    run.over = true
    const failed = [...run.results.values()].filter(Boolean).length
    app.say(`${many(jobs.length - failed, "job")} ${done}, ${failed} not`)
  }
  app.ask(() => ({
    key: "bulk", title: run.over ? `${verb} ${many(jobs.length, "job")}: done` : `${verb} ${many(jobs.length, "job")}?`, onclose: () => run.busy || close(),
    body: run.busy || run.over ? results(jobs, run.results, done) : [
      h("p", {}, `These ${many(jobs.length, "job")} ${happens}`),
      jobs.some((job) => job.folded) ? h("p", {}, "Rows of arrays stand for their tasks that still wait and those that run: the whole array is meant.") : null, listed(jobs)],
    actions: run.over ? h("button", {type: "button", class: "button primary", "data-first": "", onclick: close}, "Close") : [
      h("button", {type: "button", class: "button", "data-first": "", disabled: run.busy, onclick: close}, "Back"),
      h("button", {type: "button", class: what === "cancel" ? "button danger solid" : "button primary", disabled: run.busy, onclick: start}, run.busy ? `${doing} … ${count(run.results.size)} of ${count(jobs.length)}` : `${verb} ${many(jobs.length, "job")}`)],
  }))
}

const results = (jobs, found, done) => h("ul", {class: "bulk-list", "aria-label": "Results"}, jobs.map((job) => {
  const problem = found.get(job.job_id)
  const look = problem === undefined ? ["quiet-text", "◌", "waits"] : problem ? ["bad", "✕", problem] : ["good", "✓", done]
  return h("li", {key: `${job.job_id}-${job.label}`, class: `result ${look[0]}`}, h("span", {class: "num"}, job.label), " ", h("span", {"aria-hidden": "true"}, look[1]), ` ${look[2]}`)
}))

/** Put a tag on all of them. */
export function bulkTag(app, jobs, ondone) {
  const draft = {tag: "", problem: "", busy: false, results: null}
  const close = () => { app.closeDialog(); if (draft.results) ondone() }
  const send = async (event) => {
    event?.preventDefault()
    draft.busy = true
    app.render()
    try {
      const answer = await app.call("jobs.tag", {jobs: jobs.map(keyOf), add: draft.tag.split(",").map((tag) => tag.trim()).filter(Boolean)})
      draft.results = new Map(answer.jobs.map((each) => [each.job[1], each.problem]))
    } catch (error) {
      draft.problem = error.message
    }
    draft.busy = false
    app.render()
  }
  app.ask(() => ({
    key: "bulk-tag", title: `Tag ${many(jobs.length, "job")}`, onclose: close,
    body: draft.results ? results(jobs, draft.results, "tagged") : [
      h("form", {onsubmit: send, key: "form"}, field({id: "bulk-tag", label: "Tags", problem: draft.problem, hint: "One or several, with commas.", control:
        h("input", {id: "bulk-tag", type: "text", "data-first": "", maxlength: 200, value: draft.tag, oninput: (event) => { draft.tag = event.target.value }})})), listed(jobs)],
    actions: draft.results ? h("button", {type: "button", class: "button primary", onclick: close}, "Close") : [
      h("button", {type: "button", class: "button", onclick: close}, "Back"),
      h("button", {type: "button", class: "button primary", disabled: draft.busy || !draft.tag.trim(), onclick: send}, "Tag them")],
  }))
}
