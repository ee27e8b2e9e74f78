// A short list of jobs, in a node's drawer.
import {h} from "./dom.js"
import {JOB_STATES, gpuWords, span, now} from "./format.js"
import {badge, go} from "./ui.js"

export const jobList = (app, jobs) =>
  h("ul", {class: "job-list"}, jobs.map((job) =>
    h("li", {key: job.job_id},
      go(app, `/job?id=${job.job_id}`, {class: "num"}, job.label), " ",
      h("span", {class: "job-name"}, job.name), " ",
      h("span", {class: "quiet-text"}, [job.user, `${job.cpus} CPUs`, gpuWords(job)].filter(Boolean).join(" · ")),
      h("span", {class: "grow"}),
      job.state === "RUNNING" && job.end_s ? h("span", {class: "quiet-text num"}, `${span(job.end_s - now())} left`) : badge(JOB_STATES[job.state] || ["over", "–", job.state]))))
