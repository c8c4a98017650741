"use strict";

const api = JSON.parse(document.getElementById("document").textContent);

// Text from the document is only ever set as text, so nothing in it can become markup.
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function schemaText(schema) {
  const pre = make("pre");
  // References become links to the schema they name.
  for (const part of pretty(schema).split(/("#\/components\/schemas\/[^"]+")/)) {
    const name = part.startsWith('"#/components/schemas/') ? part.slice(22, -1) : "";
    pre.append(name ? make("a", { href: "#schema-" + name }, part) : part);
  }
  return pre;
}

function tryIt(path, method, content) {
  const form = make("form");
  const kinds = Object.keys(content);
  const kind = make("select", { "aria-label": "Content type" }, ...kinds.map((k) => make("option", {}, k)));
  const text = make("textarea", { "aria-label": "Request body", spellcheck: "false" });
  const file = make("input", { type: "file", "aria-label": "Request body from a file" });
  const send = make("button", { type: "submit" }, "Send");
  const status = make("p", { role: "status" });
  const shown = make("pre", { hidden: "" });
  const fill = () => {
    const example = content[kind.value].example;
    text.value = example === undefined ? "" : pretty(example);
    text.hidden = kind.value.includes("parquet");
    file.value = "";
  };
  if (kinds.length) {
    kind.addEventListener("change", fill);
    form.append(make("div", { class: "fields" }, kind, file), text);
    fill();
  }
  form.append(make("div", { class: "fields" }, send), status, shown);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const options = { method: method.toUpperCase() };
    if (kinds.length) {
      options.headers = { "Content-Type": kind.value };
      options.body = file.files.length ? file.files[0] : text.value;
    }
    send.disabled = true;
    status.className = "";
    status.textContent = "Waiting …";
    shown.hidden = true;
    const began = performance.now();
    try {
      // Relative to this page, so that it also works behind a prefix.
      const answer = await fetch("." + path, options);
      const body = await answer.text();
      const took = Math.round(performance.now() - began);
      const id = answer.headers.get("X-Request-Id");
      status.textContent = `${answer.status} ${answer.statusText} in ${took} ms; request ${id}`;
      status.className = answer.ok ? "" : "bad";
      // As it came: JavaScript would round long integers and drop the point of 1.0.
      shown.textContent = body;
      shown.hidden = !body.trim();
    } catch (error) {
      status.textContent = String(error);
      status.className = "bad";
    } finally {
      send.disabled = false;
    }
  });
  return form;
}

function media(content) {
  return Object.entries(content || {}).flatMap(([kind, entry]) => [
    make("p", {}, make("code", {}, kind)),
    ...(entry.schema ? [schemaText(entry.schema)] : []),
    ...("example" in entry ? [make("p", {}, "Example"), make("pre", {}, pretty(entry.example))] : []),
  ]);
}

function operation(path, method, spec) {
  const inside = make("div");
  const content = spec.requestBody ? spec.requestBody.content : {};
  if (spec.requestBody) inside.append(make("h3", {}, "Request"), ...media(content));
  inside.append(make("h3", {}, "Responses"), ...media(spec.responses["200"].content));
  const rows = Object.entries(spec.responses).map(([status, response]) =>
    make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, response.description)));
  inside.append(make("table", {}, ...rows), make("h3", {}, "Try it"), tryIt(path, method, content));
  const head = make("summary", {}, make("code", { class: `method ${method}` }, method.toUpperCase()),
    make("code", {}, path), " ", spec.summary || "");
  const node = make("details", { id: spec.operationId }, head, inside);
  node.open = path === "/invocations";
  return node;
}

document.getElementById("about").textContent = `Version ${api.info.version}. ${api.info.summary}`;
const main = document.getElementById("operations");
for (const tag of api.tags) {
  main.append(make("h2", {}, tag.name), make("p", {}, tag.description));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, spec] of Object.entries(methods)) {
      if (spec.tags[0] === tag.name && method !== "head") main.append(operation(path, method, spec));
    }
  }
}
const schemas = document.getElementById("schemas");
for (const [name, schema] of Object.entries(api.components.schemas)) {
  const node = make("details", { id: "schema-" + name }, make("summary", {}, make("code", {}, name)),
    make("div", {}, schemaText(schema)));
  schemas.append(node);
}
const reveal = () => {
  const node = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (node && node.tagName === "DETAILS") node.open = true;
};
addEventListener("hashchange", reveal);
reveal();
