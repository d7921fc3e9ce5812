// Shows api/v1/status, and asks for it again every two seconds while somebody looks. Text enters the page only as text nodes.
"use strict";

const EVERY = 2000, PATIENCE = 5000;
const KINDS = {
  live: "good", watching: "good",
  connecting: "busy", queued: "busy", bootstrapping: "busy", scanning: "busy",
  degraded: "warn", paused: "warn",
  retrying: "bad", halted: "bad",
};
const ORDER = ["halted", "retrying", "degraded", "paused", "bootstrapping", "queued", "connecting", "live"];
const SHOWN = 6; // sentences below the headline

const $ = (selector) => document.querySelector(selector);

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// What is the same is left alone, so that a selection and an open list survive.
function replace(parent, ...children) {
  const next = children.flat().filter((child) => child !== "" && child != null)
    .map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  const same = next.length === parent.childNodes.length && next.every((child, i) => child.isEqualNode(parent.childNodes[i]));
  if (!same) parent.replaceChildren(...next);
}

function sync(parent, rows) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = rows.map((row) => {
    const known = old.get(row.dataset.key);
    if (!known || known.tagName !== row.tagName) return row;
    const open = known.querySelector("details")?.open;
    if (open) row.querySelector("details")?.setAttribute("open", "");
    return known.isEqualNode(row) ? known : row;
  });
  if (wanted.length !== parent.children.length || wanted.some((row, i) => row !== parent.children[i])) parent.replaceChildren(...wanted);
}

const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
const whole = (number) => (number == null ? "?" : number.toLocaleString("en"));

function size(bytes) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (bytes < 1024) return `${bytes.toFixed(unit === "B" || bytes >= 100 ? 0 : 1)} ${unit}`;
    bytes /= 1024;
  }
  return `${bytes.toFixed(1)} TiB`;
}

function duration(seconds) {
  if (seconds == null) return "?";
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  for (const [unit, length, next] of [["s", 1, 90], ["min", 60, 90], ["h", 3600, 48]]) {
    if (seconds / length < next) return `${Math.round(seconds / length)} ${unit}`;
  }
  return `${Math.round(seconds / 86400)} d`;
}

function span(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  return whole < 90 ? `${whole} s` : duration(whole);
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString("en-GB");
const address = (row) => (row.port ? `${row.host.includes(":") ? `[${row.host}]` : row.host}:${row.port}` : row.host);
const number = (label, text, none = false) => el("td", { class: none ? "n none" : "n", "data-label": label }, text);
const path = (text) => el("bdi", {}, text);

function stateCell(state, more = "") {
  return el("td", {}, el("i", { class: "dot" }), state, ...(more ? [el("span", { class: "quiet" }, ` ${more}`)] : []));
}

// A row, and below it what there is to say about it.
function rowWith(key, kind, cells, said) {
  const row = el("tr", { class: said.length ? `${kind} has` : kind, "data-key": key }, ...cells);
  if (!said.length) return [row];
  return [row, el("tr", { class: "said", "data-key": `${key} said` }, el("td", { colspan: cells.length }, ...said))];
}

// Rates of live frontends follow from two answers.
let before = null;
function rate(row, status) {
  if (row.state === "bootstrapping" && row.progress.bytes_per_second) return row.progress.bytes_per_second;
  const former = before?.sent.get(address(row));
  const seconds = before ? status.time - before.time : 0;
  return former == null || seconds <= 0 ? null : Math.max(0, row.bytes_sent - former) / seconds;
}

function progress(row) {
  const p = row.progress;
  if (row.state === "queued") return el("span", { class: "quiet" }, row.queue_position ? `place ${row.queue_position} in the queue` : "waits");
  if (row.state !== "bootstrapping") {
    const sync = row.in_sync_at == null ? "never in sync yet" : row.state === "live" && row.dirty === 0 ? "in sync" : `in sync until ${clock(row.in_sync_at)}`;
    return el("span", { class: "quiet" }, sync);
  }
  const done = p.bytes_total ? p.bytes_done / p.bytes_total : p.files_total ? p.files_done / p.files_total : 0;
  const bar = el("b");
  bar.style.width = `${(100 * done).toFixed(1)}%`;
  const left = p.eta_seconds == null ? "" : `, ${span(p.eta_seconds)} left`;
  return el("div", { class: "progress" }, el("i", {}, bar), el("span", {}, `${Math.floor(100 * done)} %, ${whole(p.files_done)} of ${whole(p.files_total)} files${left}`));
}

function frontends(status) {
  const ranked = status.frontends.map((row, index) => [ORDER.indexOf(row.state), index, row]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const rows = ranked.flatMap(([, , row]) => {
    const speed = rate(row, status);
    const labels = [row.instance_id, row.source !== "static" ? row.source : "", row.discovery_state].filter(Boolean).join(", ");
    const said = [];
    if (row.last_error) said.push(el("p", { class: "error" }, row.last_error));
    for (const one of row.problems) if (!row.last_error.includes(one.path)) said.push(el("p", {}, path(one.path), `: ${one.reason}`));
    for (const one of [row.excess, ...row.unlisted, row.launch && `launch hook: ${row.launch}`, row.verified?.error && `not verified: ${row.verified.error}`]) if (one && one !== row.last_error) said.push(el("p", {}, one));
    return rowWith(address(row), KINDS[row.state] ?? "bad", [
      stateCell(row.state, row.draining ? "draining" : row.ready === false ? "not ready" : ""),
      el("td", { class: "name" }, path(address(row)), ...(labels ? [el("small", {}, labels)] : [])),
      number("since", span(status.time - row.since)),
      number("pending", whole(row.dirty), row.dirty === 0),
      number("lag", row.lag_seconds === 0 ? "0" : duration(row.lag_seconds), !row.lag_seconds),
      number("rate", speed ? `${size(speed)}/s` : "", !speed),
      el("td", {}, progress(row)),
    ], said);
  });
  sync($("#frontends tbody"), rows);
  $("#frontends table").hidden = !rows.length;
  $("#frontends .empty").hidden = !!rows.length;
  const states = ORDER.map((state) => [state, status.frontends.filter((row) => row.state === state).length]).filter(([, n]) => n);
  replace($("#states"), states.map(([state, n]) => `${n} ${state}`).join(", "));
}

function trees(status) {
  sync($("#trees tbody"), status.trees.flatMap((row) => {
    const said = row.problems.map((problem) => el("p", { class: "error" }, problem));
    if (row.held_samples.length) said.push(el("p", {}, "Deletions held back, such as ", ...row.held_samples.flatMap((one, i) => (i ? [", ", path(one)] : [path(one)]))));
    if (row.unreadable.length) {
      const list = el("ul", { class: "paths" }, ...row.unreadable.map((one) => el("li", {}, path(one))));
      said.push(el("details", {}, el("summary", {}, `${count(row.unreadable.length, "path")} cannot be read`), list));
    }
    return rowWith(row.source, row.problems.length && row.state === "watching" ? "warn" : KINDS[row.state] ?? "bad", [
      stateCell(row.state),
      el("td", { class: "name" }, path(row.source)),
      number("since", span(status.time - row.since)),
      number("entries", whole(row.entries)),
      number("size", size(row.bytes)),
      number("pending", whole(row.pending), !row.pending),
      number("held", whole(row.held_deletions), row.held_deletions === 0),
      number("watches", whole(row.watches)),
    ], said);
  }));
}

function discovery(status) {
  sync($("#providers"), status.discovery.map((row) => {
    const kind = row.error || row.doubt ? "warn" : row.answered ? "good" : "busy";
    const when = row.answered_at ? `${count(row.members, "frontend")}, answered ${clock(row.answered_at)}` : "no answer yet";
    const said = [row.error, row.doubt, ...row.notes].filter(Boolean).map((one) => el("p", {}, one));
    const decisions = row.decisions.map((one) => el("tr", {},
      el("td", { class: "name" }, path(one.frontend)), el("td", {}, one.instance_id), el("td", {}, one.state),
      el("td", {}, one.decision), el("td", { class: "name" }, one.reason)));
    const table = el("table", {}, el("thead", {}, el("tr", {}, ...["Address", "Instance", "State", "Decision", "Reason"].map((name) => el("th", {}, name)))), el("tbody", {}, ...decisions));
    const list = decisions.length ? [el("details", {}, el("summary", {}, count(decisions.length, "decision")), table)] : [];
    return el("div", { class: kind, "data-key": row.provider }, el("h3", {}, el("i", { class: "dot" }), row.provider, el("small", {}, when)), ...said, ...list);
  }));
}

function hooks(status) {
  const all = status.hooks ?? [];
  $("#hooks").hidden = !all.length;
  sync($("#hooks tbody"), all.flatMap((row, index) => {
    const running = row.running_seconds != null;
    const failed = row.last_status == null ? "failed" : row.last_status < 0 ? `signal ${-row.last_status}` : `exit status ${row.last_status}`;
    const state = running ? "running" : row.last_error ? failed : row.last_at == null ? "no run yet" : "ok";
    const kind = row.last_error ? "warn" : running ? "busy" : row.last_at == null ? "" : "good";
    const said = row.last_error ? [el("p", { class: "error" }, row.last_error)] : [];
    return rowWith(`${index} ${row.event} ${row.command[0]}`, kind, [
      stateCell(state, running ? `for ${span(row.running_seconds)}` : ""),
      el("td", { class: "name" }, path(row.command[0]), el("small", {}, row.event)),
      number("last run", row.last_at == null ? "never" : `${span(status.time - row.last_at)} ago`, row.last_at == null),
      number("took", row.last_seconds == null ? "" : duration(row.last_seconds), row.last_seconds == null),
      number("runs", whole(row.runs)),
      number("failed", whole(row.failures), !row.failures),
      number("waiting", whole(row.waiting), !row.waiting),
    ], said);
  }));
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function delivery(status) {
  const data = status.delivery;
  $("#delivery").hidden = !data;
  if (!data) return;
  const points = data.recent.filter((one) => one.count);
  $("#delivery svg").hidden = $("#scale").hidden = !points.length;
  $("#delivery .empty").hidden = !!points.length;
  const legend = points.length ? [el("span", { class: "key" }), `half within ${duration(data.p50)}`, el("span", { class: "key p99" }), `99 % within ${duration(data.p99)}`] : [];
  replace($("#quantiles"), "from publication to the last frontend, last ten minutes ", legend);
  if (!points.length) return;
  const values = points.flatMap((one) => [one.p50, one.p99]);
  const low = Math.floor(Math.log10(Math.min(...values))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values)) - 1e-9));
  const y = (seconds) => 114 - (108 * (Math.log10(seconds) - low)) / (high - low);
  const first = status.time - 600;
  const x = (at) => Math.max(0, Math.min(560, (560 * (at - first)) / 600));
  // A gap where nothing was delivered for half a minute; a point of its own is a short line.
  const line = (key) => points.map((one, i) => {
    const starts = !i || one.at - points[i - 1].at > 35;
    return `${starts ? "M" : "L"}${x(one.at).toFixed(1)} ${y(one[key]).toFixed(1)}${starts ? "h2" : ""}`;
  }).join("");
  const marks = [];
  for (let power = low; power <= high; power++) marks.push(10 ** power);
  $("#delivery svg").replaceChildren(
    ...marks.map((mark) => shape("line", { x1: 0, x2: 560, y1: y(mark), y2: y(mark) })),
    shape("path", { class: "p99", d: line("p99") }), shape("path", { class: "p50", d: line("p50") }),
  );
  const svg = $("#delivery svg").getBoundingClientRect(), top = $("#delivery").getBoundingClientRect().top;
  $("#scale").replaceChildren(...marks.map((mark) => {
    const label = el("li", {}, duration(mark));
    label.style.top = `${svg.top - top + (svg.height * y(mark)) / 120}px`;
    return label;
  }));
}

function events(status) {
  const rows = (status.events ?? []).map((one) => {
    const more = Object.entries(one.about).map(([name, value]) => `${name} ${value}`).join(" · ");
    const kind = one.level === "error" || one.level === "critical" ? "bad" : one.level === "warning" ? "warn" : "info";
    const times = one.count > 1 ? ` × ${one.count}` : "";
    return el("li", { class: kind, "data-key": String(one.number) }, el("time", {}, clock(one.at)),
      el("div", {}, el("i", { class: "dot" }), one.event + times, ...(more ? [el("small", {}, more)] : [])));
  });
  sync($("#events ol"), rows.reverse());
  $("#events .empty").hidden = !!rows.length;
}

function figures(status) {
  const live = status.frontends.filter((row) => row.state === "live").length;
  const pending = status.frontends.reduce((sum, row) => sum + (row.dirty ?? 0), 0);
  const unknown = status.frontends.some((row) => row.dirty == null);
  const queued = status.frontends.filter((row) => row.queue_position != null).length;
  const sum = (key) => status.trees.reduce((total, row) => total + row[key], 0);
  const limit = status.inotify.limit;
  const share = limit ? `of ${whole(limit)}, ${Math.round((100 * status.inotify.watches) / limit)} %` : "";
  const facts = [
    ["Live frontends", whole(live), `of ${status.frontends.length}`],
    ["Pending paths", (unknown ? "≥ " : "") + whole(pending), unknown ? "some unknown" : ""],
    ["Being filled", whole(status.bootstrapping), queued ? `${queued} queued` : ""],
    ["Delivered in", status.delivery?.p50 ? duration(status.delivery.p50) : "–", status.delivery?.p99 ? `99 %: ${duration(status.delivery.p99)}` : ""],
    ["Entries", whole(sum("entries")), size(sum("bytes"))],
    ["inotify watches", whole(status.inotify.watches), share],
  ];
  replace($("#figures"), facts.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, ...(more ? [" ", el("small", {}, more)] : [])))));
}

function problems(status) {
  const found = [];
  for (const row of status.trees) {
    const kind = row.state === "halted" ? "bad" : "warn";
    for (const problem of row.problems) found.push([kind, row.source, problem]);
    if (row.unreadable.length) found.push(["warn", row.source, `${count(row.unreadable.length, "path")} cannot be read.`]);
  }
  for (const row of status.frontends) {
    if (KINDS[row.state] === "bad" || KINDS[row.state] === "warn") found.push([KINDS[row.state], address(row), row.last_error || row.state]);
  }
  for (const row of status.discovery) if (row.error || row.doubt) found.push(["warn", `discovery ${row.provider}`, row.error || row.doubt]);
  for (const row of status.hooks ?? []) if (row.last_error) found.push(["warn", `hook ${row.command[0]}`, row.last_error]);
  if (status.base?.error) found.push(["warn", "base", `not published: ${status.base.error}`]);
  if (status.verify?.error) found.push(["warn", "verification", status.verify.error]);
  if (status.config?.error) found.push(["warn", "configuration", `not reloaded: ${status.config.error}`]);
  return found.sort((a, b) => (a[0] === "bad" ? 0 : 1) - (b[0] === "bad" ? 0 : 1));
}

function headline(status) {
  const found = problems(status);
  const total = status.frontends.length;
  const scanning = status.trees.some((row) => row.state === "scanning");
  let state = "busy", text = scanning ? "Reading the sources" : "Catching up";
  if (found.length) [state, text] = [found[0][0], count(found.length, "problem")];
  else if (status.ok && total) [state, text] = ["good", "Everything is in sync"];
  else if (!total && !scanning) [state, text] = ["busy", "No frontends"];
  document.body.dataset.state = state;
  replace($("#headline"), text);
  const synced = status.frontends.filter((row) => row.state === "live" && row.dirty === 0).length;
  replace($("#subline"), total ? `${synced} of ${count(total, "frontend")} hold everything.` : "Discovery lists no frontend.");
  const lines = found.slice(0, SHOWN).map(([kind, where, reason]) => el("li", { class: kind }, el("b", {}, path(where)), " ", reason.startsWith(`${where}: `) ? reason.slice(where.length + 2) : reason));
  if (found.length > SHOWN) lines.push(el("li", { class: "more" }, `and ${found.length - SHOWN} more, below`));
  replace($("#attention"), lines);
  document.title = `${state === "good" ? "" : `${text} – `}replicator`;
}

let answered = null;
function show(status) {
  headline(status);
  figures(status);
  frontends(status);
  trees(status);
  hooks(status);
  delivery(status);
  discovery(status);
  events(status);
  const verify = status.verify ?? {};
  const next = verify.running ? `${verify.running} is being verified` : verify.next ? `next in ${span(verify.next - status.time)}` : "";
  const schedule = verify.schedule ? `; verification ${verify.schedule}${next && `, ${next}`}` : "";
  replace($("#about"), `replicator ${status.version}, running for ${span(status.uptime_seconds)}${schedule}`);
  before = { time: status.time, sent: new Map(status.frontends.map((row) => [address(row), row.bytes_sent])) };
  answered = new Date();
}

function gone() {
  document.body.dataset.state = "gone";
  document.title = "No answer – replicator";
  replace($("#headline"), "The daemon does not answer");
  replace($("#subline"), answered ? `Below is what it said at ${answered.toLocaleTimeString("en-GB")}. Asking again.` : "Asking again.");
  replace($("#attention"));
}

async function ask() {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), PATIENCE);
  try {
    const answer = await fetch("api/v1/status", { cache: "no-store", signal: limit.signal });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
  } catch (error) {
    console.warn(error);
    gone();
  } finally {
    clearTimeout(timer);
  }
}

async function watch() {
  for (;;) {
    if (!document.hidden) await ask();
    await new Promise((resume) => {
      const timer = setTimeout(resume, EVERY);
      document.addEventListener("visibilitychange", () => { clearTimeout(timer); resume(); }, { once: true });
    });
  }
}
watch();
