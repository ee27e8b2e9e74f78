import {h} from "./dom.js"
export const title = "Sessions"
export const topics = () => ["mine"]
export function view(app) { return {body: [h("div", {class: "head"}, h("h1", {}, title))]} }
