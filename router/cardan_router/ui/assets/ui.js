// The status page: polls ui/state.json once a second and draws what changed since the last polls.
"use strict";

const POLL_MS = 1000;
const WINDOW = 60; // polls kept: rates and quantiles are over the last ten, lines over all
const RATE_POLLS = 10;
const history = [];
const $ = (id) => document.getElementById(id);

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const short = (name) => name.replace(/^https?:\/\//, "");
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const sum = (object) => Object.values(object).reduce((a, b) => a + b, 0);
const percent = (value) => (known(value) ? `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %` : "–");
const count = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "–");

function seconds(value) {
  if (!known(value)) return "–";
  if (value < 0.0995) return `${(value * 1000).toFixed(0)} ms`;
  return value < 9.95 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}

function text(id, value) { $(id).textContent = value; }

// What was counted between two polls; a restart makes counters fall, and then all of it is new.
function since(now, before, read) {
  const a = read(now), b = before ? read(before) : 0;
  return a >= b ? a - b : a;
}

function quantile(edges, counts, q) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (!total) return null;
  let seen = 0;
  for (let i = 0; i < counts.length; i++) {
    if (seen + counts[i] >= q * total) {
      const low = i ? edges[i - 1] : 0, high = i < edges.length ? edges[i] : edges[edges.length - 1];
      return low + (high - low) * ((q * total - seen) / counts[i]);
    }
    seen += counts[i];
  }
  return null;
}

function pastPoll(index) { return history[Math.max(0, index - RATE_POLLS)]; }

function figures(index) {
  const now = history[index], then = pastPoll(index), elapsed = now.at_s - then.at_s;
  const counts = now.ttft.counts.map((c, i) => since(now, then, (s) => s.ttft.counts[i] || 0));
  const tokens = since(now, then, (s) => s.tokens), hits = since(now, then, (s) => s.hit_tokens);
  return {
    rate: elapsed > 0 ? since(now, then, (s) => sum(s.outcomes)) / elapsed : null,
    p50: quantile(now.ttft.edges, counts, 0.5),
    p95: quantile(now.ttft.edges, counts, 0.95),
    hits: tokens > 0 ? hits / tokens : null,
    flight: now.endpoints.reduce((a, e) => a + e.in_flight, 0),
  };
}

function line(id, series) {
  const svg = $(id), all = series.flat().filter(known), top = Math.max(...all, 1e-9);
  svg.setAttribute("viewBox", `0 0 ${WINDOW - 1} 30`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(...series.map((values, i) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    let d = "", pen = "M";
    values.forEach((v, x) => {
      if (!known(v)) { pen = "M"; return; }
      d += `${pen}${x + WINDOW - values.length} ${(29 - 28 * v / top).toFixed(2)}`;
      pen = "L";
    });
    path.setAttribute("d", d);
    if (i) path.setAttribute("class", "second");
    return path;
  }));
}

function bar(value, top, label) {
  const box = element("div", undefined, "bar"), fill = element("i");
  fill.style.width = `${Math.max(2, (110 * value) / Math.max(top, 1))}px`;
  if (!value) fill.className = "idle";
  box.append(fill, element("span", label));
  return box;
}

function row(cells) {
  const tr = element("tr");
  for (const [content, className, title] of cells) {
    const td = element("td", undefined, className);
    if (content instanceof Node) td.append(content); else td.textContent = content;
    if (title || className === "id") td.title = title || td.textContent;
    tr.append(td);
  }
  return tr;
}

function endpointName(e) {
  const box = element("div", short(e.name));
  if (e.public_name !== e.name) box.append(element("small", e.public_name));
  return box;
}

function drawEndpoints(state) {
  const top = Math.max(8, ...state.endpoints.map((e) => e.in_flight));
  $("endpoints").tBodies[0].replaceChildren(...state.endpoints.map((e) => row([
    [endpointName(e), "id", e.name],
    [element("span", e.state, `dot ${e.state}`)],
    [e.engine],
    [bar(e.in_flight, top, count(e.in_flight))],
    [count(e.waiting), "n"],
    [count(e.requests), "n"],
    [e.tokens ? percent(e.hit_tokens / e.tokens) : "–", "n"],
    [e.requests ? count(e.prefill_tokens_per_s) : "–", "n"],
    [known(e.engine_running) ? `${count(e.engine_running)} / ${count(e.engine_waiting)}` : "–", "n"],
    [percent(e.kv_used_ratio), "n"],
    [known(e.scrape_age_s) ? `${e.scrape_age_s.toFixed(1)} s ago` : "never", "n"],
  ])));
  $("endpoints").hidden = !state.endpoints.length;
  $("none").hidden = state.endpoints.length > 0;
  $("aliases").hidden = state.endpoints.every((e) => e.public_name === e.name);
  $("more").hidden = state.endpoints_total <= state.endpoints.length;
  text("more", `The first ${state.endpoints.length} of ${count(state.endpoints_total)}.`);
}

function drawReceipts(state) {
  $("receipts").tBodies[0].replaceChildren(...state.receipts.map((r) => {
    const { reasons, outcomes, unserved } = state.legend, tries = r.attempts > 1 ? ` (${r.attempts} tries)` : "";
    const look = r.outcome === "ok" ? "" : unserved.includes(r.outcome) ? "bad" : "muted";
    return row([
      [new Date(r.at * 1000).toLocaleTimeString("en-GB")],
      [r.request_id, "id"],
      [r.endpoint ? short(r.endpoint) : "–", "id"],
      [r.reason || "–", "", reasons[r.reason]],
      [seconds(r.ttft_s), "n"],
      [seconds(r.predicted_ttft_s), "n muted"],
      [count(r.cached_tokens), "n"],
      [count(r.predicted_cached_tokens), "n muted"],
      [element("span", r.outcome + tries, look), "", outcomes[r.outcome]],
    ]);
  }));
  $("receipts").hidden = !state.receipts.length;
  $("quiet").hidden = state.receipts.length > 0;
}

function drawLegend(words) {
  if ($("legend").childElementCount) return; // it never changes, and may be open
  const all = [...Object.entries(words.reasons), ...Object.entries(words.outcomes)];
  $("legend").replaceChildren(...all.flatMap(([word, text]) => [element("dt", word), element("dd", text)]));
}

// What "ready" does not say: the gateway takes requests, and there is nobody to send them to.
function drawOutage(state) {
  const models = state.models_unserved;
  let words = "";
  if (!state.endpoints_total) words = "no endpoint is known";
  else if (!state.endpoints_healthy) words = `none of ${count(state.endpoints_total)} endpoints is healthy: requests wait, or get a 503`;
  else if (models.length) words = `no healthy endpoint serves ${models.join(", ")}`;
  text("outage", words);
  $("outage").hidden = !words;
}

// What an operator has said of routing.
function drawOverlay(state) {
  text("overlay", state.overlay ? `operator: ${state.overlay}` : "");
  $("overlay").hidden = !state.overlay;
}

function drawBars(id, counts, words) {
  const rows = Object.entries(counts).sort((a, b) => b[1] - a[1]), all = sum(counts);
  $(id).replaceChildren(...rows.flatMap(([name, value]) => {
    const dd = element("dd");
    dd.append(bar(value, all, `${count(value)} (${percent(value / all)})`));
    const dt = element("dt", name);
    dt.title = words[name] || "";
    return [dt, dd];
  }));
}

function draw(state) {
  const series = history.map((_, i) => figures(i)), now = series[series.length - 1];
  $("main").className = "";
  text("policy", state.policy);
  text("models", state.models.join(", "));
  text("rate", known(now.rate) ? now.rate.toFixed(1) : "–");
  text("ttft", `${seconds(now.p50)} / ${seconds(now.p95)}`);
  text("hits", percent(now.hits));
  text("flight", state.queued ? `${count(now.flight)} + ${count(state.queued)} queued` : count(now.flight));
  const all = sum(state.outcomes);
  const unserved = state.legend.unserved.reduce((a, outcome) => a + (state.outcomes[outcome] || 0), 0);
  text("errors", count(unserved));
  text("errors-note", `of ${count(all)} since the start, not counting clients' own mistakes`);
  line("rate-line", [series.map((s) => s.rate)]);
  line("ttft-line", [series.map((s) => s.p50), series.map((s) => s.p95)]);
  line("hits-line", [series.map((s) => s.hits)]);
  line("flight-line", [series.map((s) => s.flight)]);
  drawEndpoints(state);
  drawReceipts(state);
  drawOutage(state);
  drawOverlay(state);
  drawBars("reasons", state.reasons, state.legend.reasons);
  drawBars("outcomes", state.outcomes, state.legend.outcomes);
  drawLegend(state.legend);
  const workers = state.workers > 1 ? `, ${state.workers} workers` : "";
  text("foot", `cardan ${state.version}${workers} · up ${Math.floor(state.uptime_s / 60)} min`);
}

// Nothing of what was shown may stay for who has no key (any more).
function blank() {
  $("main").className = "blank";
  for (const id of ["policy", "models", "foot"]) text(id, "");
  $("outage").hidden = true;
  history.length = 0;
}

function health(ok, words) {
  text("health", words);
  $("health").className = `chip ${ok ? "ok" : "bad"}`;
}

async function poll() {
  const key = sessionStorage.getItem("cardan-key");
  try {
    const answer = await fetch("ui/state.json", {
      cache: "no-store",
      headers: key ? { authorization: `Bearer ${key}` } : {},
    });
    $("login").hidden = answer.status !== 401;
    if (answer.status === 401) {
      blank();
      text("login-error", key ? "This is not an administrator's key." : "");
      health(false, "key wanted");
    } else if (!answer.ok) {
      health(false, `answered ${answer.status}`);
    } else {
      const state = await answer.json();
      history.push(state);
      if (history.length > WINDOW) history.shift();
      health(state.ready, state.ready ? "ready" : "not ready");
      draw(state);
    }
  } catch (error) {
    health(false, "no answer");
  }
  setTimeout(poll, document.hidden ? 5 * POLL_MS : POLL_MS);
}

document.addEventListener("DOMContentLoaded", () => {
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("cardan-key", $("key").value);
    $("key").value = "";
  });
  poll();
});
