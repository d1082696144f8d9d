"use strict";
// What is drawn comes as JSON, in the page or from the watcher. All of it is text: nothing is ever read as HTML.
const byId = (id) => document.getElementById(id);
const map = byId("map"), panel = byId("panel"), query = byId("query"), found = byId("found");
const NAMES_SHOWN = 40, REASONS_SHOWN = 6, LINES_MAX = 40, LONG = 40;
let drawn = null; // the document
let live = null; // what the watcher says of it
let picked = -1; // number of a party
let chips = []; // by attachment: its buttons, one for each place
let partyButtons = []; // by party: those of hosts and the outside
let partyOf = []; // by attachment
let haystacks = []; // by attachment: what a search looks in
let cards = []; // by network

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === false || value === undefined) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
    else if (name === "colour") made.style.setProperty("--driver", value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : null);
const say = (text) => { byId("said").textContent = text; };

// ---- sets of parties, 32 to a word

function decoded(set) {
  const words = new Uint32Array((drawn.reach.parties.length >> 5) + 1);
  if (Array.isArray(set)) for (const index of set) words[index >> 5] |= 1 << (index & 31);
  else for (let end = set.length, word = 0; end > 0; end -= 8, word++) words[word] = parseInt(set.slice(Math.max(0, end - 8), end), 16);
  return words;
}
function setOf(number) {
  const sets = drawn.reach.sets;
  if (!(sets[number] instanceof Uint32Array)) sets[number] = decoded(sets[number]);
  return sets[number];
}
const has = (words, index) => (words[index >> 5] >>> (index & 31)) & 1;
function members(words) {
  const found = [];
  words.forEach((word, at) => { for (; word; word &= word - 1) found.push((at << 5) + 31 - Math.clz32(word & -word)); });
  return found;
}

/** Of some others, those for whom each reason holds: the first row that fits a pair counts. */
function byReason(row, party, isClient, others) {
  const left = others.slice(), numbers = row < 0 ? [] : drawn.reach.rows[row], parts = [];
  left[party >> 5] &= ~(1 << (party & 31));
  for (let at = 0; at < numbers.length; at += 3) {
    if (!has(setOf(numbers[at + (isClient ? 0 : 1)]), party)) continue;
    const there = setOf(numbers[at + (isClient ? 1 : 0)]), some = left.map((word, index) => word & there[index]);
    some.forEach((word, index) => { left[index] &= ~word; });
    parts.push([numbers[at + 2], members(some)]);
  }
  parts.push([-1, members(left)]);
  return parts.filter(([, some]) => some.length);
}

/** What one reaches (or who reaches it), what is alike put together: [{what, how, versions, reasons: Map of [{other, what, place}]}]. */
function flowsOf(party, isClient) {
  const groups = new Map();
  for (const [what, how, place, versions, clients, servers, row] of drawn.reach.flows) {
    if (!has(setOf(isClient ? clients : servers), party)) continue;
    const manner = place ? how.split(", ").slice(1).join(", ") : how, isMany = place && isClient;
    const key = isMany ? `published|${manner}|${versions}` : `${what}|${how}|${versions}`;
    for (const [reason, others] of byReason(row, party, isClient, setOf(isClient ? servers : clients))) {
      if (!groups.has(key)) groups.set(key, isMany ? { what: "published ports", how: manner, versions, isMany, reasons: new Map() } : { what, how, versions, reasons: new Map() });
      const reasons = groups.get(key).reasons;
      if (!reasons.has(reason)) reasons.set(reason, []);
      for (const other of others) reasons.get(reason).push({ other, what, place });
    }
  }
  return [...groups.values()].sort((one, two) => rank(one) - rank(two));
}
const rank = (group) => (group.what === "" ? 0 : group.isMany ? 3 : group.what === "pings" ? 1 : 2);

function refusalsOf(party, to) {
  const words = new Uint32Array((drawn.reach.parties.length >> 5) + 1).fill(0xffffffff);
  for (const other of parties(to)) words[other >> 5] &= ~(1 << (other & 31));
  const reasons = new Map();
  for (const [reason, others] of byReason(drawn.reach.refusals, party, true, words))
    if (reason >= 0) reasons.set(reason, [...(reasons.get(reason) || []), ...others.map((other) => ({ other, what: "", place: "" }))]);
  return reasons.size ? [{ what: "", how: "", versions: [], reasons }] : [];
}

function partyName(party) {
  const [kind, host, name] = drawn.reach.parties[party];
  const at = drawn.hosts.length > 1 && host >= 0 ? ` on ${drawn.hosts[host]}` : "";
  if (kind === "attachment") return name + at;
  return (kind === "host" ? "the host" : name ? `outside beyond ${name}` : "outside") + at;
}

/** A step's text with names filled in, and where it is declared. */
function stepText([text, network, attachment, line], client, server, place) {
  const fill = (part) => part.replaceAll("\ue000", client).replaceAll("\ue001", server).replaceAll("\ue004", place);
  const unit = fill(attachment);
  const declared = line ? line : unit ? (drawn.attachments.find((one) => one.name === unit) || {}).declared
    : network ? (drawn.networks.find((one) => one.name === network) || {}).declared : "";
  return [fill(text), declared];
}

// ---- the map

function draw() {
  chips = drawn.attachments.map(() => []);
  partyOf = drawn.attachments.map(() => -1);
  partyButtons = drawn.reach.parties.map(() => []);
  drawn.reach.parties.forEach(([kind, , , attachment], party) => { if (attachment >= 0 && kind === "attachment") partyOf[attachment] = party; });
  drawn.reach.parties.forEach(([kind, host], party) => { // who is in the host's own namespace is the host
    if (kind === "host") drawn.attachments.forEach((one, at) => {
      if (partyOf[at] < 0 && one.host === host && !one.elsewhere && one.places.some((p) => p.network >= 0 && drawn.networks[p.network].driver === "host")) partyOf[at] = party;
    });
  });
  const on = drawn.networks.map(() => []);
  drawn.attachments.forEach((one, at) => one.places.forEach((place, index) => { if (place.network >= 0) on[place.network].push([at, index]); }));
  haystacks = drawn.attachments.map((one) => [one.name, drawn.hosts[one.host], one.sandbox, one.note, one.mark, one.declared,
    ...one.links.flat(), ...one.places.flatMap((place) => [...place.addresses, ...place.aliases, ...place.ports.flat(),
      ...(place.network >= 0 ? [drawn.networks[place.network].name, drawn.networks[place.network].driver, drawn.networks[place.network].internal ? "internal" : "", ...drawn.networks[place.network].words] : [])])]
    .join(" ").toLowerCase());
  cards = [];
  const sections = [];
  const shared = drawn.networks.map((_, at) => at).filter((at) => drawn.networks[at].host < 0);
  if (shared.length) sections.push(section("Shared networks", -1, shared, on));
  drawn.hosts.forEach((name, host) => {
    const own = drawn.networks.map((_, at) => at).filter((at) => drawn.networks[at].host === host);
    const alone = drawn.attachments.map((_, at) => at).filter((at) => drawn.attachments[at].host === host && !drawn.attachments[at].places.length);
    if (own.length || alone.length || drawn.attachments.some((one) => one.host === host && !one.elsewhere)) sections.push(section(`host ${name}`, host, own, on, alone));
  });
  map.replaceChildren(...sections);
}

function section(title, host, networks, on, alone = []) {
  const heading = make("h2", { id: `h${host}` }, title);
  drawn.reach.parties.forEach(([kind, at, name], party) => {
    if (at !== host || kind === "attachment") return;
    const label = kind === "host" ? "the host itself" : name ? `outside beyond ${name}` : "outside";
    const button = make("button", { class: "party", "aria-pressed": "false", on: { click: () => pick(party) } }, label);
    partyButtons[party].push(button);
    heading.append(button);
  });
  const list = networks.map((at) => card(at, on[at]));
  if (alone.length) list.push(make("section", { class: "card", "aria-label": "on no network" },
    make("header", {}, make("h3", {}, "on no network")), make("ul", {}, alone.map((at) => make("li", {}, chip(at, null))))));
  return make("section", { class: "host", "aria-labelledby": `h${host}` }, heading, make("div", { class: "cards" }, list));
}

function card(at, members) {
  const network = drawn.networks[at], colour = (drawn.drivers.find(([name]) => name === network.class) || ["", ""])[1];
  const made = make("section", {
    class: `card${network.internal ? " internal" : ""}${members.length > LONG ? " long" : ""}`, colour,
    "aria-label": `network ${network.name}, ${network.driver}${network.internal ? ", internal" : ""}, ${counted(members.length, "member")}`,
  });
  made.append(make("header", {},
    make("h3", {}, mark(network.mark), make("span", { class: network.mark === "removed" ? "gone" : null }, network.name),
      make("span", { class: "badge" }, network.driver), network.internal ? make("span", { class: "badge internal" }, "internal") : null,
      make("span", { class: "count", "aria-hidden": "true" }, String(members.length))),
    network.words.length ? make("p", { class: "words" }, network.words.join(" · ")) : null,
    make("div", { class: "live" })));
  if (members.length) {
    const buttons = members.map(([attachment, place]) => chip(attachment, place));
    buttons[0].tabIndex = 0;
    made.append(make("ul", { on: { keydown: (event) => walk(event, buttons) } }, buttons.map((button) => make("li", {}, button))));
  } else made.append(make("p", { class: "none" }, "nobody is on it"));
  const lines = members.reduce((sum, [attachment, place]) => sum + 1 + drawn.attachments[attachment].places[place].ports.length, 0);
  made.style.containIntrinsicBlockSize = `auto ${70 + (members.length > LONG ? lines / 4 : lines) * 22}px`; // of those that are out of sight
  cards[at] = made;
  return made;
}

function chip(at, index) {
  const one = drawn.attachments[at], place = index === null ? null : one.places[index], shared = place && drawn.networks[place.network].host < 0;
  const aside = [];
  if (place) {
    aside.push(...place.ports.map(([text, what]) => line(text, what, "port")), ...place.aliases.map((alias) => line(`alias ${alias}`, "", "where")));
    if (place.was.length) aside.push(line(`was ${place.was.join(", ")}`, "", "where"));
  }
  if (!index) aside.push(...one.links.map(([target, alias, what]) => line(`⇢ ${target}${alias === target ? "" : ` as ${alias}`}`, what, "port")), one.note ? line(one.note, "", "where") : null);
  const status = place ? place.mark : one.mark;
  const others = one.places.filter((each) => each !== place && each.network >= 0).map((each) => drawn.networks[each.network].name);
  const button = make("button", { class: `chip${status ? ` ${status}` : ""}`, "aria-pressed": "false", tabindex: "-1",
    on: { click: () => (partyOf[at] >= 0 && partyOf[at] === picked ? focusPanel() : pickAttachment(at)) } },
  mark(status), make("span", { class: "name" }, one.name), others.length ? make("span", { class: "where", title: `also on ${others.join(", ")}` }, `+${others.length}`) : null,
  shared && drawn.hosts.length > 1 ? make("span", { class: "where" }, `on ${drawn.hosts[one.host]}`) : null,
  place && place.isGateway ? make("span", { class: "where" }, "way out") : null,
  place && place.addresses.length ? make("span", { class: "addr" }, place.addresses.join(" ")) : null, aside);
  if (index === null) button.tabIndex = 0;
  chips[at].push(button);
  button.attachment = at;
  return button;
}
const line = (text, what, kind) => make("span", { class: kind }, what ? mark(what) : null, make("span", { class: what === "removed" ? "gone" : null }, text));
const mark = (what) => (what ? make("span", { class: `mark ${what}`, title: what, role: "img", "aria-label": what }, `${drawn.signs[what]} `) : null);

/** Arrow keys go through a network's members, left and right to the networks beside it. */
function walk(event, buttons) {
  const shown = buttons.filter((button) => !button.parentElement.hidden), at = shown.indexOf(event.target);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
  let next = to === undefined ? null : shown[to];
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    const lists = [...map.querySelectorAll(".card:not([hidden])")], step = event.key === "ArrowRight" ? 1 : -1;
    for (let card = lists.indexOf(event.target.closest(".card")) + step; lists[card] && !next; card += step)
      next = lists[card].querySelector("li:not([hidden]) .chip");
  }
  if (next) { event.preventDefault(); roam(next); next.focus(); }
}
function roam(button) {
  const list = button.closest("ul");
  if (list) for (const other of list.querySelectorAll('.chip[tabindex="0"]')) other.tabIndex = -1;
  button.tabIndex = 0;
}

// ---- picking

function pickAttachment(at) {
  if (partyOf[at] >= 0) pick(partyOf[at], at);
  else { clear(); picked = -2; for (const button of chips[at]) button.setAttribute("aria-pressed", "true"); showAttachment(at, [], []); }
}

function pick(party, at = drawn.reach.parties[party][3]) {
  clear();
  picked = party;
  const to = flowsOf(party, true), from = flowsOf(party, false);
  const mine = at >= 0 ? chips[at] : partyButtons[party];
  for (const button of mine) button.setAttribute("aria-pressed", "true");
  lit(to, "to"); lit(from, "from");
  map.classList.add("picked");
  if (at >= 0) { showAttachment(at, to, from); drawLines(at); }
  else show(partyName(party), [], party, to, from);
  const name = partyName(party);
  say(`${name}: reaches ${counted(parties(to).size, "other")}, reached by ${parties(from).size}. Enter again goes to the details.`);
  history.replaceState(null, "", `#${encodeURIComponent(drawn.reach.parties[party].slice(0, 3).join("/"))}`);
}
const parties = (groups) => new Set(groups.flatMap((group) => [...group.reasons.values()].flat().map((each) => each.other)));
const buttonsOf = (party) => { const at = drawn.reach.parties[party][3]; return at >= 0 ? chips[at] : partyButtons[party]; };
function lit(groups, kind) { for (const party of parties(groups)) for (const button of buttonsOf(party)) button.classList.add(kind); }

function clear() {
  picked = -1;
  map.classList.remove("picked");
  for (const button of map.querySelectorAll(".to, .from, [aria-pressed='true']")) { button.classList.remove("to", "from"); button.setAttribute("aria-pressed", "false"); }
  byId("lines")?.remove();
}
function unpick() { clear(); showAll(); history.replaceState(null, "", location.pathname + location.search); say("nothing is picked"); }
function focusPanel() { panel.scrollTop = 0; panel.focus(); }

/** From a chip to the same attachment's other places, and along its links. */
function drawLines(at) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), box = map.getBoundingClientRect();
  svg.id = "lines"; svg.setAttribute("aria-hidden", "true");
  const place = (button) => { const r = button.getBoundingClientRect(); return { left: r.left - box.left, right: r.right - box.left, y: r.top - box.top + r.height / 2, width: r.width }; };
  const join = (one, two, kind) => {
    const a = place(one), b = place(two);
    if (!a.width || !b.width) return;
    const isAfter = b.left > a.right, x1 = isAfter ? a.right : a.left, x2 = isAfter ? b.left : Math.abs(b.left - a.left) < 20 ? b.left : b.right;
    const bend = Math.max(24, Math.abs(x2 - x1) / 2) * (isAfter ? 1 : -1), back = isAfter ? -1 : Math.abs(b.left - a.left) < 20 ? 1 : -1;
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", `M${x1},${a.y} C${x1 + bend},${a.y} ${x2 + bend * back},${b.y} ${x2},${b.y}`);
    if (kind) path.setAttribute("class", kind);
    svg.append(path);
  };
  chips[at].slice(1, LINES_MAX).forEach((other) => join(chips[at][0], other, ""));
  const one = drawn.attachments[at];
  for (const [target] of one.links) {
    const to = drawn.attachments.findIndex((each) => each.name === target && each.host === one.host);
    if (to >= 0 && chips[to].length && chips[at].length) join(chips[at][0], chips[to][0], "link");
  }
  map.append(svg);
}

// ---- details

function showAttachment(at, to, from) {
  const one = drawn.attachments[at];
  const rows = one.places.map((place) => make("tr", {},
    make("td", {}, mark(place.mark), place.network >= 0 ? drawn.networks[place.network].name : "?", place.isDefault ? make("span", { class: "soft", title: "the default route leads through here" }, " (default route)") : null,
      place.aliases.length ? make("div", { class: "soft" }, `alias ${place.aliases.join(", ")}`) : null),
    make("td", {}, place.addresses.map((address) => make("div", { class: "addr" }, address)), place.was.length ? make("div", { class: "soft" }, `was ${place.was.join(", ")}`) : null),
    make("td", {}, place.ports.map(([text, what]) => make("div", { class: "port" }, mark(what), text)))));
  const facts = [make("p", { class: "soft" }, [drawn.hosts.length > 1 ? `on host ${drawn.hosts[one.host]}` : "", one.sandbox, one.declared ? `declared at ${one.declared}` : "", one.mark ? `${one.mark}${one.note ? `: ${one.note}` : ""}` : ""].filter(Boolean).join(" · "))];
  if (rows.length) facts.push(make("table", {}, make("thead", {}, make("tr", {}, ["network", "addresses", "published"].map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, rows)));
  if (one.links.length) facts.push(make("p", {}, "links to ", one.links.map(([target, alias]) => (alias === target ? target : `${target} as ${alias}`)).join(", ")));
  const trouble = live && own(live.attachments, one.name);
  if (trouble && !one.elsewhere) facts.push(make("p", { class: "why" }, make("span", { class: `state ${trouble.state}` }, `${trouble.state}: `), trouble.message));
  if (one.elsewhere) facts.push(make("p", { class: "soft" }, "It is on another host: only what goes over shared networks is known here."));
  show(one.name, facts, picked, to, from);
}

function show(title, facts, party, to, from) {
  const close = make("button", { class: "close", "aria-label": "close the details", on: { click: unpick } }, "✕");
  const made = [close, make("h2", {}, title), facts];
  if (party >= 0) {
    made.push(flowList("Reaches", to, party, true, "to"), flowList("Reached by", from, party, false, "from"));
    const at = drawn.reach.parties[party][3], isElsewhere = at >= 0 && drawn.attachments[at].elsewhere;
    const refused = isElsewhere ? [] : refusalsOf(party, to), rest = drawn.reach.parties.length - 1 - parties(to).size;
    if (refused.length) made.push(make("details", { id: "refused" }, make("summary", {}, `Does not reach ${counted(parties(refused).size, "other")}`), refused.map((group) => flow(group, party, true, ""))));
    else if (!isElsewhere && drawn.reach.refusals < 0 && rest > 0) made.push(make("p", { class: "soft" }, `It does not reach ${counted(rest, "other")}; these are too many for reasons here, \u201creconcile explain\u201d gives them.`));
  }
  panel.replaceChildren(...made.flat());
}

function flowList(title, groups, party, isClient, kind) {
  const list = groups.map((group) => flow(group, party, isClient, kind));
  return make("section", { id: kind, "aria-label": title }, make("h3", {}, `${title} ${groups.length ? counted(parties(groups).size, "other") : "nobody"}`), list);
}

/** One way to reach others: for each reason who they are. */
function flow(group, party, isClient, kind) {
  const what = kind === "" ? "" : group.what === "" ? "every port" : group.what, families = group.versions.map((version) => `IPv${version}`).join(", ");
  const box = make("div", { class: `flow ${kind}` },
    what ? make("div", {}, make("span", { class: "what" }, what), make("span", { class: "soft" }, `${group.how ? ` ${group.how}` : ""} · ${families}`)) : null);
  const reasons = [...group.reasons].sort(([, one], [, two]) => two.length - one.length);
  const add = (first, last) => box.append(...reasons.slice(first, last).flatMap(([reason, each]) => because(reason, each, party, isClient, group.isMany, kind)));
  add(0, REASONS_SHOWN);
  if (reasons.length > REASONS_SHOWN) box.append(moreButton(`and for ${reasons.length - REASONS_SHOWN} more reasons`, () => add(REASONS_SHOWN)));
  return box;
}
function moreButton(text, more) {
  const button = make("button", { class: "more", on: { click: () => { more(); button.remove(); } } }, text);
  return button;
}

function because(reason, each, party, isClient, isMany, kind) {
  const mine = drawn.reach.parties[party][2], alone = each.length === 1, theirs = alone ? drawn.reach.parties[each[0].other][2] : "the other";
  const place = new Set(each.map((one) => one.place)).size === 1 ? each[0].place : "the port";
  const steps = reason < 0 ? [] : drawn.reach.reasons[reason].map((step) => stepText(drawn.reach.steps[step], isClient ? mine : theirs, isClient ? theirs : mine, place));
  const list = make("ul", { class: "names" });
  const label = ({ other, what, place: at }) => (isMany ? `${partyName(other)} ${what} at ${at.replace("0.0.0.0:", "").replace(/\/.*/, "")}` : partyName(other));
  const add = (first, last) => list.append(...each.slice(first, last).map((one) => make("li", {}, make("button", { on: { click: () => follow(one.other) } }, label(one)))));
  add(0, NAMES_SHOWN);
  const rest = each.length > NAMES_SHOWN ? moreButton(`and ${each.length - NAMES_SHOWN} more`, () => add(NAMES_SHOWN)) : null;
  return [list, rest, steps.length ? make("ol", { class: "why", "aria-label": kind === "" ? "why not" : "why" }, steps.map(([text, declared]) => make("li", {}, text, declared ? make("code", {}, ` ${declared}`) : null))) : null].filter(Boolean);
}

function follow(party) {
  pick(party);
  const button = buttonsOf(party).find((each) => each.offsetParent);
  if (button) { if (button.closest("ul")) roam(button); button.scrollIntoView({ block: "nearest" }); }
  focusPanel();
}

function showAll() {
  const people = drawn.attachments.filter((one) => !one.elsewhere).length;
  const made = [];
  if (live) made.push(make("h2", {}, "Now"), liveHost());
  made.push(live ? make("h3", {}, "What there is") : make("h2", {}, "What there is"),
    make("p", {}, `${counted(drawn.hosts.length, "host")}, ${counted(drawn.networks.length, "network")}, ${counted(people, "attachment")}.`),
    make("p", { class: "soft" }, "Pick one to see what it reaches, who reaches it, and why."),
    make("ul", { class: "legend" }, drawn.drivers.map(([name, colour]) => make("li", {}, make("i", { colour }), name)), make("li", {}, make("i", { class: "dashed" }), "internal")));
  if (drawn.isChange) made.push(make("h3", {}, "The change"), make("ul", { class: "legend" }, Object.entries(drawn.signs).map(([what, sign]) => make("li", {}, make("span", { class: `mark ${what}` }, `${sign} `), what))));
  if (live) made.push(make("h3", {}, "Last events"), eventList());
  made.push(make("h3", {}, "Keys"), make("table", {}, make("tbody", {}, [["/", "search"], ["Enter", "in the search: pick the first; on one that is picked: its details"], ["↑ ↓", "the members of a network"], ["← →", "the network beside"], ["Esc", "back"]]
    .map(([key, text]) => make("tr", {}, make("td", {}, make("kbd", {}, key)), make("td", {}, text))))));
  panel.replaceChildren(...made.flat());
}

// ---- search

function search() {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  drawn.attachments.forEach((_, at) => {
    const fits = words.every((word) => haystacks[at].includes(word));
    count += fits && chips[at].length ? 1 : 0;
    for (const button of chips[at]) { const item = button.parentElement; if (item.hidden === fits) item.hidden = !fits; }
  });
  let networks = 0;
  for (const made of map.querySelectorAll(".card")) {
    const first = made.querySelector("li:not([hidden]) .chip");
    const at = cards.indexOf(made), own = at >= 0 ? `${drawn.networks[at].name} ${drawn.networks[at].driver} ${drawn.networks[at].words.join(" ")}`.toLowerCase() : "";
    made.hidden = words.length > 0 && !first && !(own && words.every((word) => own.includes(word)));
    networks += made.hidden ? 0 : 1;
    if (first) roam(first);
  }
  for (const made of map.querySelectorAll(".host")) made.hidden = words.length > 0 && !made.querySelector(".card:not([hidden])");
  found.textContent = words.length ? (count || networks ? `${counted(count, "attachment")} on ${counted(networks, "network")}` : "nothing has all of that") : "";
  byId("lines")?.remove();
  if (picked >= 0 && drawn.reach.parties[picked][3] >= 0) drawLines(drawn.reach.parties[picked][3]);
}

function first() {
  const shown = [...map.querySelectorAll("li:not([hidden]) .chip")].filter((button) => !button.closest("[hidden]"));
  const wanted = query.value.trim().toLowerCase();
  return shown.find((button) => drawn.attachments[button.attachment].name.toLowerCase() === wanted) || shown[0];
}

let waiting = 0;
query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => drawn && search(), 60); });
query.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !drawn) return;
  event.preventDefault(); // else the one that gets the focus is pressed too
  clearTimeout(waiting);
  search();
  const button = first();
  if (button) { pickAttachment(button.attachment); roam(button); button.focus(); button.scrollIntoView({ block: "nearest" }); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== query) { event.preventDefault(); query.focus(); query.select(); }
  if (event.key === "Escape" && drawn) {
    const was = map.querySelector(".chip[aria-pressed='true'], .party[aria-pressed='true']");
    if (panel.contains(document.activeElement) && was) was.focus();
    else if (event.target === query && query.value) { query.value = ""; search(); }
    else if (picked !== -1) unpick();
  }
});
new ResizeObserver(([header]) => document.documentElement.style.setProperty("--top", `${header.target.offsetHeight}px`)).observe(byId("top"));
addEventListener("resize", () => { byId("lines")?.remove(); if (drawn && picked >= 0 && drawn.reach.parties[picked][3] >= 0) drawLines(drawn.reach.parties[picked][3]); });

// ---- beginning

function begin(document_) {
  const was = picked >= 0 ? drawn.reach.parties[picked].slice(0, 3).join("/") : decodeURIComponent(location.hash.slice(1));
  drawn = document_;
  picked = -1;
  draw();
  if (query.value) search();
  const again = was ? drawn.reach.parties.findIndex((party) => party.slice(0, 3).join("/") === was) : -1;
  if (again >= 0) pick(again);
  else showAll();
  document.documentElement.dataset.ready = "yes";
}

// ---- live: a watcher serves this page, and is asked for what it shows as long as somebody looks

const ASK_EVERY_MS = 500;
let drawing = "", stateTag = "", isAsking = false;
const repairs = new Map(); // by network, at the last look

async function ask() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  try {
    const answer = await fetch("state.json", { headers: stateTag ? { "If-None-Match": stateTag } : {}, cache: "no-store" });
    if (answer.status === 200) {
      stateTag = answer.headers.get("ETag") || "";
      live = await answer.json();
      if (live.drawing !== drawing || !drawn) await askForDrawing();
      if (drawn) showLive();
    } else if (answer.status !== 304) throw new Error(`${answer.status}`);
    if (!drawn) await askForDrawing();
    watcherSays(live, "");
  } catch (error) { watcherSays(live, `the watcher does not answer (${error.message})`); stateTag = ""; }
  isAsking = false;
}

async function askForDrawing() {
  const answer = await fetch("drawing.json", { cache: "no-store" });
  if (answer.status !== 200) return; // it is being made
  drawing = answer.headers.get("ETag");
  begin(await answer.json());
}

function watcherSays(said, trouble) {
  const line = byId("watcher"), newest = said && said.events[0];
  line.hidden = false;
  line.className = trouble || (said && !said.isWell) ? "bad" : said && said.host.state !== "ready" ? "warn" : "";
  line.replaceChildren(...[make("span", { class: "dot", "aria-hidden": "true" }, "● "), trouble || (said ? said.health : "being drawn…"),
    !trouble && newest ? make("span", { class: "newest" }, ` · ${clock(newest.time)} ${eventText(newest)}`) : null].filter(Boolean));
}
const clock = (time) => { const at = new Date(time); return isNaN(at) ? time : at.toLocaleTimeString(undefined, { hour12: false }); };
const since = (time) => { const at = new Date(time); return isNaN(at) ? "" : `since ${new Date() - at < 72e6 ? clock(time) : at.toLocaleDateString()}`; };
const eventText = (event) => [event.event, event.units, event.message || event.error, event.count > 1 ? `and ${event.count - 1} more` : ""].filter(Boolean).join(" · ");

const isSaid = (state) => !state.reason || state.reason.toLowerCase() === state.state; // the state says it

function stateLine(state) {
  const parts = [make("span", { class: `state ${state.state}` }, state.state), make("span", { class: "soft" }, [since(state.since), state.repaired ? `drift repaired ${counted(state.repaired, "time")}` : ""].filter(Boolean).map((text) => ` · ${text}`).join(""))];
  const why = state.message || state.remark;
  return why ? [...parts, make("p", { class: "why" }, isSaid(state) ? why : `${state.reason}: ${why}`)] : parts;
}

function showLive() {
  drawn.networks.forEach((network, at) => {
    const state = own(live.networks, network.name), box = cards[at] && cards[at].querySelector(".live");
    if (!box) return;
    box.replaceChildren(...(state ? stateLine(state) : []));
    const was = repairs.get(network.name);
    if (state && was !== undefined && state.repaired > was) { cards[at].classList.remove("news"); void cards[at].offsetWidth; cards[at].classList.add("news"); say(`${network.name}: drift was repaired`); }
    if (state) repairs.set(network.name, state.repaired);
  });
  drawn.attachments.forEach((one, at) => {
    const state = one.elsewhere ? null : own(live.attachments, one.name);
    for (const button of chips[at]) {
      button.querySelector(".state")?.remove();
      if (state && state.state !== "ready") button.append(make("span", { class: `state ${state.state}` }, isSaid(state) ? state.state : `${state.state}: ${state.reason}`));
    }
  });
  showMissing();
  if (picked === -1) showAll();
}

/** Networks and attachments that are declared and could not be made: nothing is known of them but why. */
function showMissing() {
  byId("missing")?.remove();
  const networks = new Set(drawn.networks.map((network) => network.name)), attachments = new Set(drawn.attachments.map((one) => one.name));
  const list = [["network", live.networks, networks], ["attachment", live.attachments, attachments]].flatMap(([kind, states, known]) => Object.entries(states)
    .filter(([name, state]) => !known.has(name) && state.state !== "ready")
    .map(([name, state]) => make("section", { class: "card", "aria-label": `${kind} ${name}, not there` }, make("header", {}, make("h3", {}, `${kind} ${name}`), make("div", { class: "live" }, stateLine(state))))));
  if (list.length) map.prepend(make("section", { id: "missing", class: "host", "aria-labelledby": "hmissing" }, make("h2", { id: "hmissing" }, "not there yet"), make("div", { class: "cards" }, list)));
}

function liveHost() {
  const made = [make("p", {}, make("span", { class: `state ${live.host.state}` }, live.host.state), ` · ${live.health}`)];
  if (live.host.message) made.push(make("p", { class: "why" }, `${live.host.reason}: ${live.host.message}`));
  if (live.host.probed) made.push(make("p", { class: "soft" }, `probed: ${live.host.probed}`));
  if (live.revision) made.push(make("p", { class: "soft" }, "specs at ", make("code", {}, live.revision.slice(0, 12))));
  made.push(...live.faults.map((fault) => make("p", { class: "why bad" }, fault)));
  const notReady = Object.entries(live.networks).filter(([, state]) => state.state !== "ready");
  if (notReady.length) made.push(make("h3", {}, counted(notReady.length, "network") + " not ready"), notReady.map(([name, state]) => make("p", {}, make("b", {}, `${name} `), stateLine(state))));
  return made.flat();
}

function eventList() {
  return make("ul", { class: "events" }, live.events.length ? live.events.map((event) => make("li", { class: event.event },
    make("time", { datetime: event.time }, clock(event.time)), make("b", {}, event.event),
    event.units ? `${event.units}: ` : "", [event.reason, event.message, event.error].filter(Boolean).join(": "), event.count > 1 ? ` and ${event.count - 1} more` : "")) : make("li", {}, "none yet"));
}

const given = JSON.parse(byId("data").textContent);
if (given) begin(given);
else { ask(); setInterval(ask, ASK_EVERY_MS); document.addEventListener("visibilitychange", ask); }
