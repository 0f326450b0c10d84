// The dashboard: asks the control API and draws what it says. Everything is written as text, never as markup.
"use strict";

const SHAPES = {
  up: { text: "up", path: "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z" },
  suspect: { text: "suspect", path: "M0,-3.4L3.4,2.6L-3.4,2.6z" },
  down: { text: "down", path: "M-3,-1.6L-1.6,-3L0,-1.4L1.6,-3L3,-1.6L1.4,0L3,1.6L1.6,3L0,1.4L-1.6,3L-3,1.6L-1.4,0z" },
  draining: { text: "draining", path: "M0,-3.8L3.8,0L0,3.8L-3.8,0z" },
  stopped: { text: "stopped", path: "M-2.7,-2.7H2.7V2.7H-2.7z" },
};
// The worst first: what a site with several nodes shows.
const WORST = ["down", "stopped", "suspect", "draining", "up"];
const EVENTS_SHOWN = 300;
const POLL_MS = 2000;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
let token = document.querySelector('meta[name="iso-token"]').content || sessionStorage.getItem("iso-token") || "";
let lastSeq = 0;
let refreshTimer = 0;
let counted = null;

// --- asking

async function ask(method, path, body) {
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.status === 401) signOut();
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({ error: { message: `status ${response.status}` } }));
    const meant = error.did_you_mean ? ` Did you mean ${error.did_you_mean.join(" or ")}?` : "";
    throw new Error(error.message + "." + meant);
  }
  return response;
}

async function act(button, what, method, path, body) {
  button.disabled = true;
  try {
    await ask(method, path, body);
    notice(`${what}: done.`);
  } catch (error) {
    notice(`${what}: ${error.message}`, true);
  }
  button.disabled = false;
  await refresh();
}

function notice(text, wrong = false) {
  $("notice").textContent = text;
  $("notice").classList.toggle("wrong", wrong);
}

function signOut() {
  sessionStorage.removeItem("iso-token");
  $("sign-in").hidden = false;
}

// --- drawing

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function mark(health) {
  const svg = drawn("svg", { class: `mark ${health}`, viewBox: "-4 -4 8 8", "aria-hidden": "true" });
  svg.append(drawn("path", { d: SHAPES[health].path }));
  return svg;
}

// Keeps one child per key, in order, so that the focus stays where it is when numbers change.
function keyed(parent, items, key, make, update) {
  const had = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = had.get(name);
    had.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  for (const gone of had.values()) gone.remove();
}

function span(ms) {
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

const count = (n) => n.toLocaleString("en");

function showStatus(status) {
  document.title = `${status.world} · Isochrone`;
  $("world").textContent = status.world;
  const up = status.nodes.filter((node) => node.health === "up").length;
  const links = status.links.worst_error_ms === null
    ? "links not measured yet"
    : `${status.links.count} links measured, worst error ${status.links.worst_error_ms.toFixed(1)} ms`;
  const summary = `${up} of ${status.nodes.length} nodes up · ${links} · version ${status.version}`;
  // Only what changed is read aloud.
  if ($("summary").textContent !== summary) $("summary").textContent = summary;
  showSites(status.nodes);
  showNodes(status.nodes, status.drained, new Set(status.faults.filter((f) => f.kind === "pause").map((f) => f.target)));
  showFaults(status.faults);
}

function showSites(nodes) {
  const sites = new Map();
  for (const node of nodes) {
    const site = sites.get(node.site) ?? { id: node.site, name: node.pop ?? node.site, lat: node.lat, lon: node.lon, nodes: [] };
    site.name = node.pop ?? site.name;
    site.nodes.push(node);
    sites.set(node.site, site);
  }
  // PoPs first: what would lie upon them moves down a little, and its name goes where there is room.
  const marks = [];
  const names = [];
  const overlaps = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const box = (left, right, y) => ({ left, right, top: y - 2.8, bottom: y + 2.8 });
  for (const site of [...sites.values()].sort((a, b) => (a.name.length - b.name.length) || a.id.localeCompare(b.id))) {
    site.x = site.lon + 180;
    site.y = 90 - site.lat;
    while (marks.some((mark) => overlaps(mark, box(site.x - 2.5, site.x + 2.5, site.y)))) site.y += 1;
    marks.push(box(site.x - 3, site.x + 3, site.y));
    site.mark = marks.at(-1);
  }
  for (const site of sites.values()) {
    const width = site.name.length * 2.8;
    const sides = [
      { anchor: "start", dx: 4.5, dy: 1.8, box: box(site.x + 4, site.x + 5 + width, site.y) },
      { anchor: "end", dx: -4.5, dy: 1.8, box: box(site.x - 5 - width, site.x - 4, site.y) },
      { anchor: "middle", dx: 0, dy: 8, box: box(site.x - width / 2, site.x + width / 2, site.y + 6) },
      { anchor: "middle", dx: 0, dy: -4.5, box: box(site.x - width / 2, site.x + width / 2, site.y - 6) },
    ];
    const free = (side) => ![...names, ...marks.filter((mark) => mark !== site.mark)].some((taken) => overlaps(taken, side.box));
    site.side = sides.find(free) ?? sides[0];
    names.push(site.side.box);
  }
  keyed($("sites"), sites.values(), (site) => site.id, () => {
    const group = drawn("g", {});
    group.append(drawn("path", {}), drawn("text", {}), drawn("title", {}));
    return group;
  }, (group, site) => {
    const health = WORST.find((word) => site.nodes.some((node) => node.health === word));
    group.setAttribute("transform", `translate(${site.x} ${site.y})`);
    const [path, text, title] = group.children;
    path.setAttribute("d", SHAPES[health].path);
    path.setAttribute("class", health);
    text.setAttribute("x", site.side.dx);
    text.setAttribute("y", site.side.dy);
    text.setAttribute("text-anchor", site.side.anchor);
    text.textContent = site.name;
    title.textContent = site.nodes.map((node) => `${node.id}: ${node.health}`).join("\n");
  });
}

function showNodes(nodes, drained, paused) {
  keyed($("nodes"), nodes, (node) => node.id, (node) => {
    const cells = ["health", "place", "address", "process", "restarts"].map((name) => element("td", { className: name }));
    const stop = element("button", { type: "button" });
    const pause = element("button", { type: "button" });
    const drain = element("button", { type: "button" });
    const actions = element("td", { className: "actions" }, stop, pause);
    if (node.role === "edge") actions.append(drain);
    cells[3].classList.add("number");
    cells[4].classList.add("number");
    const row = element("tr", {}, element("th", { scope: "row", textContent: node.id }), ...cells, actions);
    for (const button of [stop, pause, drain]) {
      button.addEventListener("click", () => {
        const { verb } = button.dataset;
        const what = `${verb} ${row.dataset.key}`;
        if (button === drain) act(button, what, "POST", `/v1/${verb}`, { pop: row.dataset.pop });
        else act(button, what, "POST", `/v1/nodes/${encodeURIComponent(row.dataset.key)}/${verb}`, undefined);
      });
    }
    return row;
  }, (row, node) => {
    const [, health, place, address, process, restarts, actions] = row.children;
    row.dataset.pop = node.pop ?? "";
    if (health.dataset.word !== node.health) {
      health.dataset.word = node.health;
      health.replaceChildren(mark(node.health), node.health);
    }
    health.title = `for ${span(node.since_ms)}${node.exit ? `, process ended: ${node.exit}` : ""}`;
    place.textContent = node.place;
    address.textContent = Object.entries(node.addresses).filter(([name]) => name !== "admin").map(([name, at]) => `${name} ${at}`).join(", ");
    process.textContent = node.pid ?? "–";
    restarts.textContent = node.restarts;
    const verbs = [
      node.pid === null || node.health === "stopped" ? "start" : "kill",
      paused.has(node.id) ? "resume" : "pause",
      drained.includes(node.pop) ? "undrain" : "drain",
    ];
    [...actions.children].forEach((button, nth) => {
      const verb = verbs[nth];
      // What does not run can neither be paused nor go on.
      if (nth === 1) button.disabled = node.pid === null;
      if (button.dataset.verb === verb) return;
      button.dataset.verb = verb;
      button.textContent = verb[0].toUpperCase() + verb.slice(1);
      button.setAttribute("aria-label", `${verb} ${nth === 2 ? node.pop : node.id}`);
    });
  });
}

function showFaults(faults) {
  $("no-faults").hidden = faults.length > 0;
  $("faults-table").hidden = faults.length === 0;
  keyed($("faults"), faults, (fault) => fault.id, (fault) => {
    const heal = element("button", { type: "button", textContent: "Heal" });
    const name = `heal ${fault.target} ${fault.kind}`;
    heal.setAttribute("aria-label", name);
    heal.addEventListener("click", () => act(heal, name, "DELETE", `/v1/faults?id=${fault.id}`));
    return element("tr", {},
      element("th", { scope: "row", textContent: fault.target }),
      element("td", {}, `${fault.kind} `, element("small", { textContent: fault.detail })),
      element("td", { className: "number" }),
      element("td", { className: "actions" }, heal));
  }, (row, fault) => {
    row.children[2].textContent = fault.ends_in_ms === null ? "until healed" : span(fault.ends_in_ms);
  });
}

// --- numbers

function* samples(text) {
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found || line.startsWith("#")) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    yield { name: found[1], labels, value: Number(found[3]) };
  }
}

function showMetrics(text) {
  const pops = new Map();
  for (const { name, labels, value } of samples(text)) {
    if (labels.role !== "edge" || !name.startsWith("iso_edge_")) continue;
    const pop = labels.pop ?? labels.node;
    if (!pops.has(pop)) pops.set(pop, { pop, requests: 0, hits: 0, misses: 0, errors: 0 });
    const row = pops.get(pop);
    if (name === "iso_edge_requests_total") row.requests += value;
    if (name === "iso_edge_hits_total" || name === "iso_edge_refresh_hits_total") row.hits += value;
    if (name === "iso_edge_misses_total") row.misses += value;
    if (name === "iso_edge_errors_total") row.errors += value;
  }
  const now = { at: performance.now(), pops };
  const seconds = counted ? (now.at - counted.at) / 1000 : 0;
  // A node that was restarted counts from nothing again.
  const rate = (row) => seconds > 0 ? Math.max(0, row.requests - (counted.pops.get(row.pop)?.requests ?? 0)) / seconds : 0;
  const ratio = (row) => row.hits + row.misses > 0 ? `${(100 * row.hits / (row.hits + row.misses)).toFixed(1)} %` : "–";
  const rows = [...pops.values()].sort((a, b) => a.pop.localeCompare(b.pop));
  keyed($("pops"), rows, (row) => row.pop, (row) => element("tr", {},
    element("th", { scope: "row", textContent: row.pop }),
    ...[1, 2, 3, 4].map(() => element("td", { className: "number" })),
  ), (made, row) => {
    const [, requests, perSecond, hitRatio, errors] = made.children;
    requests.textContent = count(row.requests);
    perSecond.textContent = rate(row).toFixed(1);
    hitRatio.textContent = ratio(row);
    errors.textContent = count(row.errors);
  });
  const sum = (field) => rows.reduce((total, row) => total + row[field], 0);
  const all = { hits: sum("hits"), misses: sum("misses") };
  const tiles = [
    ["Requests", count(sum("requests"))],
    ["per second", rows.reduce((total, row) => total + rate(row), 0).toFixed(1)],
    ["Hit ratio", ratio(all)],
    ["Errors", count(sum("errors"))],
  ];
  keyed($("tiles"), tiles, ([name]) => name, ([name]) => element("div", {}, element("dt", { textContent: name }), element("dd")),
    (tile, [, value]) => { tile.lastElementChild.textContent = value; });
  counted = now;
}

async function refresh() {
  clearTimeout(refreshTimer);
  try {
    showStatus(await (await ask("GET", "/v1/status")).json());
    $("sign-in").hidden = true;
  } catch (error) {
    $("summary").textContent = `No answer: ${error.message}`;
  }
  clearTimeout(refreshTimer);
  refreshTimer = setTimeout(refresh, POLL_MS);
}

async function countUp() {
  try {
    showMetrics(await (await ask("GET", "/metrics")).text());
  } catch {
    counted = null;
  }
  setTimeout(countUp, POLL_MS);
}

// --- events

function showEvent(event) {
  const seconds = (event.t_ms / 1000).toFixed(3);
  const line = element("li", { className: event.kind },
    element("time", { textContent: `${seconds} s`, dateTime: `PT${seconds}S` }),
    element("span", { className: "kind", textContent: event.kind }),
    element("span", { textContent: event.text }));
  $("events").prepend(line);
  while ($("events").childElementCount > EVENTS_SHOWN) $("events").lastElementChild.remove();
}

async function follow() {
  let pause = 500;
  for (;;) {
    try {
      const headers = { authorization: `Bearer ${token}`, accept: "application/x-ndjson" };
      const response = await fetch(`/v1/events?since=${lastSeq}`, { headers });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        pause = 500;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines.filter((text) => text !== "")) {
          const event = JSON.parse(line);
          // A number that starts over belongs to a new run.
          lastSeq = event.seq;
          showEvent(event);
        }
        clearTimeout(refreshTimer);
        refreshTimer = setTimeout(refresh, 100);
      }
    } catch {
      // The status says that nobody answers.
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 5000);
  }
}

$("legend").append(...Object.entries(SHAPES).map(([health, { text }]) => element("li", {}, mark(health), text)));
$("heal-all").addEventListener("click", (event) => act(event.target, "heal all", "DELETE", "/v1/faults?target=all"));
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("iso-token", token);
  refresh();
});
$("sign-in").hidden = token !== "";
refresh();
countUp();
follow();
