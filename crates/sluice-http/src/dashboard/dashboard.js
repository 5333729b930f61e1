// Asks the three status routes again and again, and shows what they answer. Everything is put in as text, never as HTML.
//
// What came as JSON has the name of its kind (`system`, `replica`, `esp`, `limit` ..), by which a test compares every key that
// is read here with what the routes say that they answer.
"use strict";

const PAUSE_MS = 2000;
const PATIENCE_MS = 15000;
const LIMITS_SHOWN = 300;
const TOKEN = "sluice.token";

const at = (id) => document.getElementById(id);

/** An answer that is no success. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new Refusal(response.status, answer?.error?.message ?? `status ${response.status}`);
}

// Pieces of the page.

function element(name, className, content) {
  const it = document.createElement(name);
  if (className) it.className = className;
  it.append(...[content].flat());
  return it;
}

// A string becomes a text node, whatever is in it.
const text = (content, className) => element("td", className, String(content ?? "-"));
const number = (content) => text(content?.toLocaleString("en"), "number");
const lines = (items) => element("td", "", items.length ? items.map((it) => element("div", it.className, it.text)) : "-");
const line = (content, className) => ({ text: content, className });

function fill(id, rows, none) {
  const columns = at(id).parentElement.querySelectorAll("thead th").length;
  const empty = () => {
    const cell = text(none, "faint");
    cell.colSpan = columns;
    return [element("tr", "", cell)];
  };
  at(id).replaceChildren(...(rows.length ? rows : empty()));
}

function say(id, content, className) {
  at(id).textContent = content;
  at(id).className = className ?? "";
}

// Spans of time in words, rounded up.
function span(ms) {
  if (ms === null || ms === undefined) return "-";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 120000) return `${Math.ceil(ms / 1000)} s`;
  if (ms < 7200000) return `${Math.ceil(ms / 60000)} min`;
  return ms < 172800000 ? `${Math.ceil(ms / 3600000)} h` : `${Math.ceil(ms / 86400000)} d`;
}

const rate = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));
const byCount = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1]);

// The fleet.

function showSystem(system) {
  say("version", system.version);
  say("ready", system.ready ? "ready" : "not ready", system.ready ? "good" : "bad");
  const parts = system.parts.map((part) => {
    const state = part.ready ? "ok" : part.detail ?? "not ready";
    return element("span", part.ready ? "faint" : part.needed ? "bad" : "warn", `${part.name}: ${state} `);
  });
  at("parts").replaceChildren(...parts);
  const { fleet, counts } = system;
  showFleet(system, fleet);
  showCounts(counts);
}

function showFleet(system, fleet) {
  const process = `this process: up ${span(system.uptime_seconds * 1000)}, ${system.in_flight} in work`;
  if (!fleet) {
    say("fleet", `${process}; the store does not answer, so the fleet is not known`, "bad");
    return;
  }
  const agree = fleet.configs_agree ? "all agree on the configuration" : "replicas run with DIFFERENT limits, pools or groups";
  say("fleet", `${fleet.replicas.length} replicas, ${agree}; ${process}`, fleet.configs_agree ? "" : "bad");
  const replicas = fleet.replicas.map((replica) => element("tr", "", [
    text(replica.name),
    text(replica.version),
    text(replica.config_digest),
    text(span(replica.up_seconds * 1000)),
    text(`${span(replica.seen_ago_ms)} ago`, replica.seen_ago_ms > 5000 ? "bad" : ""),
    text(replica.works ? "yes" : "no"),
    number(replica.in_flight),
  ]));
  fill("replicas", replicas, "no replica is running");
  const campaigns = fleet.campaigns.map((campaign) => element("tr", "", [
    text(campaign.campaign),
    text(campaign.tenant),
    text(campaign.order, "warn"),
  ]));
  fill("campaigns", campaigns, "no campaign is paused or cancelled");
}

// Jobs.

function showCounts(counts) {
  const table = (id, kind, none) => {
    const rows = byCount(kind).map(([word, count]) => element("tr", "", [text(word), number(count)]));
    fill(id, rows, none);
  };
  if (!counts) {
    for (const id of ["states", "dead"]) fill(id, [], "the store does not answer");
    for (const row of at("waiting").rows) row.cells[1].textContent = "-";
    return;
  }
  const about = counts.estimated ? "about, by a sample" : "";
  at("states").title = about;
  table("states", counts.jobs, "no jobs yet");
  table("dead", counts.dead, "none");
  showWaiting(1, counts.pending);
}

// The rows are those of the closed list, which the page comes with; a word that is not among them gets a row of its own.
function showWaiting(column, byReason) {
  const known = new Map([...at("waiting").rows].map((row) => [row.dataset.reason, row]));
  for (const word of Object.keys(byReason).filter((word) => !known.has(word))) {
    const row = element("tr", "", [text(word), number(0), number(0)]);
    row.dataset.reason = word;
    at("waiting").append(row);
    known.set(word, row);
  }
  for (const [word, row] of known) {
    const count = byReason[word] ?? 0;
    row.cells[column].textContent = count.toLocaleString("en");
    row.cells[column].className = count ? "number" : "number faint";
  }
}

// ESPs.

function showEsps(espStatus) {
  if (!espStatus.esps) {
    const rows = espStatus.here.map((here) => element("tr", "", [
      text(here.esp),
      lines([line(here.state, here.state === "closed" ? "good" : "bad"), line("in this process", "faint")]),
    ]));
    fill("esps", rows, "the store does not answer, and this process works no lanes");
    return;
  }
  const rows = espStatus.esps.map((esp) => element("tr", "", [
    text(esp.name),
    lines(breakerLines(esp.breaker)),
    number(esp.in_flight),
    lines(Object.entries(esp.rates).map(([word, value]) => line(`${word} ${rate(value)}`, word === "accepted" ? "" : "warn"))),
    lines(esp.quotas.map((quota) => {
      const resets = quota.resets_in_ms === null ? "" : `, for ${span(quota.resets_in_ms)}`;
      const share = `${quota.used.toLocaleString("en")} used, ${quota.left.toLocaleString("en")} left`;
      return line(`${quota.key} (${quota.spec}): ${share}${resets}`, quota.left === 0 ? "warn" : "");
    })),
    lines(byCount(esp.recent).map(([word, count]) => line(`${word} ${count.toLocaleString("en")}`, "warn"))),
    lines([...esp.brakes.map((brake) => line(`${brake.scope}: ${brakeWords(brake)}`, "warn")), ...esp.warm_up.map(warmUpLine)]),
  ]));
  fill("esps", rows, "no ESP is configured");
}

function breakerLines(breaker) {
  const found = [line(breaker.state, breaker.state === "closed" ? "good" : "bad")];
  if (breaker.forced) found.push(line(`held ${breaker.forced} by an operator`, "warn"));
  if (breaker.open_for_ms !== null) found.push(line(`for ${span(breaker.open_for_ms)}`, "bad"));
  if (breaker.trips > 0) found.push(line(`opened ${breaker.trips} times in a row`, "warn"));
  if (breaker.probing > 0) found.push(line(`${breaker.probing} probes under way`));
  return found;
}

function brakeWords(brake) {
  const hold = brake.hold_ms > 0 ? `nothing for ${span(brake.hold_ms)}, then ` : "";
  return `${hold}${brake.share_percent} % of its rate, off in ${span(brake.off_in_ms)}`;
}

function warmUpLine(warmUp) {
  if (warmUp.cap === null) return line(`${warmUp.scope}: warm-up is done`, "faint");
  const today = `${warmUp.sent_today.toLocaleString("en")} of ${warmUp.cap.toLocaleString("en")} today`;
  return line(`${warmUp.scope}: ${today}, day ${warmUp.step + 1}${warmUp.held ? ", held" : ""}`, warmUp.held ? "warn" : "");
}

// Limits.

function showLimits(rateLimits) {
  showWaiting(2, rateLimits.waiting_by_reason);
  const rows = rateLimits.limits.slice(0, LIMITS_SHOWN).map((limit) => element("tr", "", [
    text(limit.key),
    lines(limitLines(limit)),
    text(limit.used === null ? "-" : `${limit.used.toLocaleString("en")}, ${(limit.left ?? 0).toLocaleString("en")} left`),
    text(limit.next_slot_in_ms === 0 ? "open" : span(limit.next_slot_in_ms)),
    number(limit.parked + limit.waiting),
    text(limit.oldest?.replace("T", " ")),
    text(limit.brake ? brakeWords(limit.brake) : "-", limit.brake ? "warn" : ""),
  ]));
  fill("limits", rows, "no limit holds");
  const hidden = Math.max(0, rateLimits.limits.length - LIMITS_SHOWN) + rateLimits.left_out;
  const each = rateLimits.per_domain.length ? `Each domain of the group other: ${rateLimits.per_domain.join(", ")}. ` : "";
  say("more", `${each}${hidden > 0 ? `${hidden} more limits are not shown: sluice limits list has them.` : ""}`);
}

function limitLines(limit) {
  const found = [line(limit.spec ?? limit.kind)];
  if (limit.edited_by) found.push(line(`set by ${limit.edited_by}, configured: ${limit.configured ?? "none"}`, "warn"));
  return found;
}

// The round.

async function round() {
  const [system, espStatus, limits] = await Promise.all([
    ask("system/status"),
    ask("esp/status"),
    // Without the store it does not answer; the others do.
    ask("rate-limits/status").catch((error) => error),
  ]);
  showSystem(system);
  showEsps(espStatus);
  if (limits instanceof Error) throw new Refusal(limits.status, `limits: ${limits.message}`);
  showLimits(limits);
}

async function keepShowing() {
  for (;;) {
    if (!document.hidden && at("ask").hidden) {
      try {
        await round();
        at("error").hidden = true;
        document.body.className = "";
        say("answered", `as of ${new Date().toLocaleTimeString()}`);
      } catch (error) {
        at("ask").hidden = error.status !== 401 && error.status !== 403;
        at("error").hidden = false;
        at("error").textContent = `cannot ask the server: ${error.message}`;
        document.body.className = "stale";
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = at("token").value.trim();
  // With anything else no request could be made, and the form would not come back.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    say("error", "a token has no such characters");
    return;
  }
  sessionStorage.setItem(TOKEN, token);
  at("token").value = "";
  at("ask").hidden = true;
});

keepShowing();
