// The demo shop: everything on the page comes from API v1 (see /docs), and no other host.

const LISTED = 24;
const PAGE = 500; // of the catalogue, the most that an answer has
const PAGES = 8;
const LAST_OFFSET = 10_000; // the furthest that the catalogue can be asked for
const $ = (id) => document.getElementById(id);
const items = new Map(); // item id -> promise of the item
const hues = new Map(); // top category -> hue
const state = { user: "", category: "", requestId: null, chosen: null, asked: 0, diversity: null };

// --- API ---------------------------------------------------------------------------------------

class ApiProblem extends Error {
  constructor(problem) {
    super(problem.detail ?? "The server does not answer.");
    this.status = problem.status;
    this.fields = (problem.errors ?? []).map((error) => error.field);
  }
}

async function call(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const answer = await fetch(path, options);
  const document = await answer.json().catch(() => ({ status: answer.status }));
  if (!answer.ok) throw new ApiProblem(document);
  return document;
}

function itemOf(id) {
  if (!items.has(id)) {
    const found = call(`/v1/items/${encodeURIComponent(id)}`);
    items.set(id, found.catch(() => ({ item_id: id, title: id, categories: [] })));
  }
  return items.get(id);
}

const listed = (places) =>
  Promise.all(places.map(async (place) => ({ ...place, item: await itemOf(place.item_id) })));

// Returns whether the effect is known to be visible.
async function send(event) {
  try {
    await call("/v1/events?wait=applied", event);
    return true;
  } catch (problem) {
    // Accepted, and another worker's to apply: what lists are made of here will follow.
    if (problem.status === 504) return false;
    // Where the worker runs in another process, nobody here can say when it is done.
    if (!problem.fields?.includes("wait")) throw problem;
    await call("/v1/events", event);
    return false;
  }
}

// --- Pictures: every article gets a river of its own, in its department's colour ------------------

function random(seed) {
  let hash = 2166136261;
  for (const character of seed) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  return () => {
    hash = Math.imul(hash ^ (hash >>> 15), 2246822519) + 0x9e3779b9;
    hash = Math.imul(hash ^ (hash >>> 13), 3266489917);
    return ((hash ^= hash >>> 16) >>> 0) / 2 ** 32;
  };
}

const hueOf = (category = "") => hues.get(category) ?? Math.floor(random(category)() * 360);

function picture(item) {
  const next = random(item.item_id);
  const hue = hueOf(item.categories?.[0]) + (next() - 0.5) * 26;
  const sky = 93 - next() * 5;
  const layers = 4;
  let paths = "";
  for (let layer = 0; layer < layers; layer++) {
    const base = 38 + next() * 8 + layer * 14;
    const height = 6 + next() * 13;
    const length = 46 + next() * 70;
    const shift = next() * length;
    let path = `M0 100V${base}`;
    for (let x = -shift; x < 130; x += length) {
      const [a, b, end] = [x + length / 4, x + (3 * length) / 4, x + length];
      path += `L${x} ${base}C${a} ${base - height} ${b} ${base + height} ${end} ${base}`;
    }
    const light = 76 - (layer / (layers - 1)) * 44;
    const fill = `hsl(${hue + layer * 7} ${52 + layer * 5}% ${light}%)`;
    paths += `<path d="${path}V100Z" fill="${fill}"/>`;
  }
  const sun = `<circle cx="${22 + next() * 90}" cy="${16 + next() * 22}" r="${5 + next() * 9}"
    fill="hsl(${hue + 30} 90% ${84 - next() * 16}%)"/>`;
  return `<svg viewBox="0 0 130 98" preserveAspectRatio="xMidYMid slice" aria-hidden="true">
    <rect width="130" height="98" fill="hsl(${hue} 62% ${sky}%)"/>${sun}${paths}</svg>`;
}

// --- Elements ------------------------------------------------------------------------------------

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function tile(item) {
  const made = element("div", "tile");
  made.innerHTML = picture(item); // holds numbers only, nothing of the item's text
  return made;
}

const nameOf = (item) => item.title || item.item_id;
const priceOf = (item) => (item.price == null ? "" : item.price.toFixed(2));

function card({ item, reason }) {
  const made = element("button", "card");
  made.dataset.id = item.item_id;
  const body = element("div", "body");
  body.append(
    element("span", "path", item.categories?.join(" › ") ?? ""),
    element("span", "name", nameOf(item)),
    element("span", "price", priceOf(item)),
  );
  if (reason) body.append(element("span", "why", reason));
  made.append(tile(item), body, element("span", "badge", "new"));
  made.onclick = () => act(item, "view");
  return made;
}

function mini(item, note) {
  const made = element("button", "mini");
  const text = element("div");
  text.append(element("div", "name", nameOf(item)), element("div", "note", note));
  made.append(tile(item), text);
  made.onclick = () => act(item, "view");
  return made;
}

// Cards glide from where they were to where they are, so that a change can be followed.
function showList(places) {
  const grid = $("list");
  const before = new Map(
    [...grid.children].map((shown) => [shown.dataset.id, shown.getBoundingClientRect()]),
  );
  const cards = places.map(card);
  grid.replaceChildren(...cards);
  if (!places.length) grid.append(element("p", "hint", "Nothing fits."));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const shown of before.size ? cards : []) {
    const old = before.get(shown.dataset.id);
    if (!old) shown.classList.add("fresh");
    if (still) continue;
    const now = shown.getBoundingClientRect();
    const from = old
      ? { transform: `translate(${old.left - now.left}px, ${old.top - now.top}px)` }
      : { transform: "scale(.92)", opacity: 0 };
    shown.animate([from, {}], { duration: 420, easing: "cubic-bezier(.2, .8, .2, 1)" });
  }
}

// --- What is asked -------------------------------------------------------------------------------

function wishes() {
  const parts = [];
  if (state.category) parts.push(`'${state.category.replaceAll("'", "''")}' = ANY(categories)`);
  if ($("filter").value.trim()) parts.push(`(${$("filter").value.trim()})`);
  return {
    limit: LISTED,
    filter: parts.join(" AND ") || null,
    exclude_seen: $("unseen").checked,
    diversity: state.diversity,
    explain: true,
  };
}

async function recommend() {
  const asked = ++state.asked;
  const start = performance.now();
  try {
    const answer = await call("/v1/recommend", { user_id: state.user, ...wishes() });
    const taken = performance.now() - start;
    const places = await listed(answer.items);
    if (asked !== state.asked) return taken; // a newer list is on its way
    state.requestId = answer.request_id;
    $("model").textContent = `model ${answer.model_version}`;
    $("speed").textContent = `${places.length} items in ${taken.toFixed(0)} ms`;
    $("problem").hidden = true;
    showList(places);
    return taken;
  } catch (problem) {
    $("problem").textContent = problem.message;
    $("problem").hidden = false;
    return null;
  }
}

async function act(item, type) {
  const start = performance.now();
  const event = {
    user_id: state.user,
    item_id: item.item_id,
    event_type: type,
    request_id: state.requestId,
  };
  if (type === "purchase" && item.price != null) event.value = item.price;
  const opened = type === "view" ? choose(item) : null;
  let applied;
  try {
    applied = await send(event);
  } catch (problem) {
    $("problem").textContent = problem.message;
    $("problem").hidden = false;
    return;
  }
  const learned = performance.now() - start;
  const ranked = await recommend();
  if (!applied) showAccepted();
  else if (ranked !== null) showSpeed(learned, ranked);
  await Promise.all([opened, showHistory(), showTrending()]);
}

function showSpeed(learned, ranked) {
  $("total").textContent = (learned + ranked).toFixed(0);
  $("learn-ms").textContent = `${learned.toFixed(0)} ms`;
  $("rank-ms").textContent = `${ranked.toFixed(0)} ms`;
  const share = (100 * learned) / (learned + ranked);
  $("learn").style.width = `${share}%`;
  $("rank").style.width = `${100 - share}%`;
  $("hint").textContent = "On disk, in the history, in the embedding, and ranked again.";
}

// How long it takes is not known, and what an earlier click took says nothing of this one.
function showAccepted() {
  for (const id of ["total", "learn-ms", "rank-ms"]) $(id).textContent = "–";
  for (const id of ["learn", "rank"]) $(id).style.width = "";
  $("hint").textContent = "Accepted: a worker in another process learns from it, and lists follow.";
}

async function choose(item) {
  state.chosen = item;
  $("chosen-tile").replaceChildren(...tile(item).childNodes);
  $("chosen-path").textContent = [item.brand, ...(item.categories ?? [])].filter(Boolean).join(" › ");
  $("chosen-title").textContent = nameOf(item);
  $("chosen-text").textContent = item.description ?? "";
  $("chosen-price").textContent = priceOf(item);
  $("chosen").hidden = false;
  const path = `/v1/items/${encodeURIComponent(item.item_id)}/similar?limit=6`;
  const answer = await call(path).catch(() => ({ items: [] }));
  const places = await listed(answer.items);
  if (state.chosen !== item) return;
  $("similar").replaceChildren(...places.map((place) => mini(place.item, priceOf(place.item))));
}

async function showHistory() {
  const user = state.user;
  const known = await call(`/v1/users/${encodeURIComponent(user)}`).catch(() => ({ history: [] }));
  const newest = known.history.slice(-6).reverse();
  const places = await listed(newest);
  if (user !== state.user) return;
  const shown = places.map(({ item, event_type, timestamp }) =>
    mini(item, `${event_type} · ${ago(new Date(timestamp))}`),
  );
  $("history").replaceChildren(...shown);
  if (!shown.length) $("history").append(element("li", "none", "Nothing yet: what is popular is shown."));
}

async function showTrending() {
  const answer = await call("/v1/trending?limit=4").catch(() => ({ items: [] }));
  const places = await listed(answer.items);
  $("trending").replaceChildren(
    ...places.map(({ item }) => mini(item, item.categories?.[0] ?? "")),
  );
}

function ago(moment) {
  const seconds = Math.max(0, (Date.now() - moment) / 1000);
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  const [unit, size] = units.find(([, length]) => seconds >= length) ?? ["", 0];
  return unit ? `${Math.floor(seconds / size)} ${unit} ago` : "now";
}

// All of a small catalogue; of a large one pages spread over it, for neighbours are often alike.
async function someOfTheCatalogue() {
  const first = await call(`/v1/items?limit=${PAGE}`);
  const last = Math.min(Math.max(first.total - PAGE, 0), LAST_OFFSET);
  const more = Math.min(Math.ceil(last / PAGE), PAGES - 1);
  const offsets = Array.from({ length: more }, (_, page) => Math.ceil((last * (page + 1)) / more));
  const others = offsets.map((offset) => call(`/v1/items?limit=${PAGE}&offset=${offset}`));
  return [first, ...(await Promise.all(others))].flatMap((page) => page.items);
}

async function showCategories() {
  const shown = await someOfTheCatalogue();
  const names = [...new Set(shown.map((item) => item.categories[0]).filter(Boolean))].sort();
  // Golden angle: neighbours in the list are far apart in colour.
  names.forEach((name, place) => hues.set(name, (200 + place * 137.5) % 360));
  for (const name of names.slice(0, 16)) {
    const made = element("button", "", name);
    made.type = "button";
    made.style.setProperty("--hue", hues.get(name));
    made.setAttribute("aria-pressed", "false");
    made.onclick = () => {
      state.category = state.category === name ? "" : name;
      for (const other of $("categories").children)
        other.setAttribute("aria-pressed", String(other.textContent === state.category));
      recommend();
    };
    $("categories").append(made);
  }
}

// --- Who is asking -------------------------------------------------------------------------------

const visitors = () => JSON.parse(localStorage.getItem("users") ?? "[]");
const newVisitor = () => `visitor-${Math.random().toString(36).slice(2, 8)}`;

async function become(user) {
  state.user = user;
  localStorage.setItem("users", JSON.stringify([...new Set([user, ...visitors()])].slice(0, 12)));
  $("users").replaceChildren(...visitors().map((each) => Object.assign(element("option"), { value: each })));
  $("user").value = user;
  $("list-title").textContent = `For ${user}`;
  const hue = Math.floor(random(user)() * 360);
  $("avatar").style.background = `linear-gradient(135deg, hsl(${hue} 75% 62%), hsl(${hue + 70} 70% 45%))`;
  history.replaceState(null, "", `?user=${encodeURIComponent(user)}`);
  $("chosen").hidden = true;
  $("list").replaceChildren();
  await Promise.all([recommend(), showHistory(), showTrending()]);
}

$("who").onsubmit = (submitted) => {
  submitted.preventDefault();
  become($("user").value.trim());
};
$("user").onchange = () => $("who").requestSubmit();
$("visitor").onclick = () => become(newVisitor());
$("wishes").onsubmit = (submitted) => submitted.preventDefault();
for (const id of ["filter", "unseen"]) $(id).onchange = recommend;
// Until it is moved the list is as the shop's settings say.
$("diversity").onchange = () => {
  state.diversity = Number($("diversity").value);
  recommend();
};
$("cart").onclick = () => act(state.chosen, "cart");
$("purchase").onclick = () => act(state.chosen, "purchase");

await showCategories().catch(() => {});
await become(new URLSearchParams(location.search).get("user") || visitors()[0] || newVisitor());
