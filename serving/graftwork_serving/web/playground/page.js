"use strict";
// The playground of an endpoint. Everything it shows comes from the endpoint's own routes, asked for relative to where
// the page is, so that it works behind a path prefix. Texts are set as text, never as HTML.
(() => {
  const base = location.origin + location.pathname.replace(/\/?$/, "/");
  const at = id => document.getElementById(id);
  const state = { endpoint: "", models: [], limits: {}, key: "", model: null, sent: null, early: [], turn: 0 };
  const FEW = 6; // labels named one by one
  const AT_ONCE = 3; // requests in flight
  const MOST_CARDS = 60;
  const HINT = "Select a label to see what speaks for it.";

  // ---- elements

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter(child => child !== null));
    return element;
  }

  const say = text => { at("status").textContent = text; };
  const percent = value => {
    const digits = value > 0.9995 && value < 1 || value > 0 && value < 0.001 ? 2 : 1;
    return `${(100 * value).toFixed(digits)} %`;
  };
  const number = value => Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
  const milliseconds = value => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

  // ---- requests

  class Refusal extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
    }
  }

  async function call(path, { accept = "application/json", ...options } = {}) {
    const headers = { accept, ...options.headers };
    if (state.key) headers.authorization = `Bearer ${state.key}`;
    let response;
    try {
      response = await fetch(base + path, { ...options, headers, cache: "no-store" });
    } catch {
      throw new Refusal(0, "The endpoint cannot be reached. It may be stopped, or the connection is gone.");
    }
    if (response.ok) return response;
    const refusal = new Refusal(response.status, await reason(response));
    if (refusal.status === 401) askForKey();
    throw refusal;
  }

  async function reason(response) {
    const text = await response.text().catch(() => "");
    try {
      const { error } = JSON.parse(text);
      if (typeof error === "string") return error;
    } catch { /* not from the endpoint itself: a proxy between */ }
    return `Something between this page and the endpoint answered with status ${response.status} and no explanation.`;
  }

  function predictPath(model, more = {}) {
    const isOnlyOne = state.models.length === 1 && !state.key; // a key may hide others
    const query = new URLSearchParams({ ...(isOnlyOne ? {} : { model: model.name }), ...more }).toString();
    return `v1/endpoints/${encodeURIComponent(state.endpoint)}/predict${query && `?${query}`}`;
  }

  function askForKey() {
    if (!at("key-field").hidden) return;
    at("key-field").hidden = false;
    at("links").hidden = true; // they lead out of this page, where the key is not
    at("key").focus();
  }

  // ---- what the endpoint is

  async function load() {
    try {
      const root = await (await call("")).json();
      Object.assign(state, { endpoint: root.endpoint, models: root.models, limits: root.limits ?? {} });
      state.hasExamples = "examples" in root.routes;
      state.explains = root.explanations?.includes("cam") ?? false;
      document.title = `${root.endpoint} · Graftwork endpoint`;
      at("endpoint").textContent = root.endpoint;
      at("model").replaceChildren(...root.models.map(name => make("option", { value: name }, name)));
      at("model-field").hidden = root.models.length < 2;
      await choose(root.models[0]);
    } catch (error) {
      complain(error);
    }
  }

  async function choose(name) {
    const turn = ++state.turn;
    const about = await (await call(`v2/models/${encodeURIComponent(name)}`)).json();
    if (turn !== state.turn) return; // another one was chosen since
    const parameters = about.parameters ?? {};
    const isText = about.inputs[0].name === "text";
    state.model = { name, isText, labels: parameters.labels ?? [], thresholds: parameters.thresholds ?? null };
    state.sent = null;
    const which = `${name === state.endpoint ? "Version" : `${name}, version`} ${about.versions[0]}`;
    at("about").textContent = `${which}. Takes ${isText ? "texts" : "pictures"}, answers with ${named(state.model.labels, about.outputs[0].name === "values" ? "and" : "or")}.`;
    at("about").className = "quiet";
    at("for-pictures").hidden = isText;
    at("for-texts").hidden = !isText;
    showCommand();
    askPictures(state.early.splice(0));
    await showExamples(turn);
  }

  function named(labels, last) {
    const more = labels.length - FEW + 1;
    const shown = more > 1 ? [...labels.slice(0, FEW - 1), `one of ${more} more`] : labels;
    return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} ${last} ${shown.at(-1)}`;
  }

  function complain(error) {
    at("about").textContent = error.message;
    at("about").className = "problem";
    say(error.message);
  }

  async function showExamples(turn) {
    at("examples").hidden = true;
    if (!state.hasExamples) return;
    const query = `?model=${encodeURIComponent(state.model.name)}`;
    const path = `v1/endpoints/${encodeURIComponent(state.endpoint)}/examples`;
    const { examples } = await (await call(path + query)).json();
    const buttons = await Promise.all(examples.map(async ({ name, label }) => {
      const data = await (await call(`${path}/${encodeURIComponent(name)}${query}`, { accept: "*/*" })).blob();
      return state.model.isText ? textButton(await data.text()) : pictureButton(data, name, label);
    }));
    if (turn !== state.turn || !buttons.length) return;
    at("examples").replaceChildren(make("h2", {}, "Or try"), ...buttons);
    at("examples").hidden = false;
  }

  function pictureButton(data, name, label) {
    const image = make("img", { src: URL.createObjectURL(data), alt: `Example: ${label}` });
    const ask = () => askPictures([new File([data], name, { type: data.type })]);
    return make("button", { type: "button", title: label, onclick: ask }, image);
  }

  function textButton(text) {
    const ask = () => { at("text").value = text; askText(text); };
    return make("button", { type: "button", className: "words", title: text, onclick: ask }, text.slice(0, 80));
  }

  // ---- asking

  async function askPictures(files) {
    if (!state.model) state.early.push(...files); // they are asked about as soon as it is known what answers
    if (!files.length || !state.model || state.model.isText) return;
    state.sent = files.map(file => file.name || "picture.png");
    showCommand();
    const cards = [...files].reverse().map(pictureCard).reverse(); // the newest card comes first, the last file last
    // What is no picture by its name may be one all the same; if not, the endpoint says that of its content.
    const typeOf = file => file.type.startsWith("image/") ? file.type : "application/octet-stream";
    const tasks = files.map((file, index) => () => answer(cards[index], file, typeOf(file)));
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      while (tasks.length) await tasks.shift()();
    }));
  }

  async function askText(text) {
    if (!text.trim() || !state.model) return;
    state.sent = text;
    showCommand();
    await answer(textCard(text), text, "text/plain; charset=utf-8");
  }

  async function answer(card, body, type) {
    const into = card.querySelector(".answer");
    into.replaceChildren(make("p", { className: "waiting" }, "Waiting for the answer"));
    const model = state.model;
    try {
      const most = state.limits.maxRequestBytes;
      if (most && body.size > most) {
        const sizes = [body.size, most].map(bytes => (bytes / 1e6).toFixed(1));
        throw new Refusal(413, `This file has ${sizes[0]} MB; this endpoint takes ${sizes[1]} MB at most.`);
      }
      const started = performance.now();
      const response = await call(predictPath(model), { method: "POST", body, headers: { "content-type": type } });
      const document = await response.json();
      const took = performance.now() - started;
      const why = state.explains && !model.isText ? label => explain(card, body, type, model, label) : null;
      show(into, document, model, took, inside(response), why);
      if (why) unexplain(card);
      say(`${card.dataset.name}: ${inWords(document.predictions[0])}`);
    } catch (error) {
      const again = make("button", { type: "button", onclick: () => answer(card, body, type) }, "Try again");
      const note = make("p", { className: "problem" }, error.message);
      into.replaceChildren(note, make("div", { className: "foot" }, fileName(card), again));
      say(`${card.dataset.name}: ${error.message}`);
    }
  }

  // Milliseconds within the endpoint, where it tells.
  function inside(response) {
    const found = /(?:^|,)\s*predict;dur=([\d.]+)/.exec(response.headers.get("server-timing") ?? "");
    return found ? Number(found[1]) : null;
  }

  // ---- what an answer rests on

  // Lays the heat map of a label over the picture, or takes it away if it lies there already.
  async function explain(card, body, type, model, label) {
    const view = card.querySelector(".view");
    const wasShown = view.dataset.label === label;
    const note = card.querySelector("figcaption");
    unexplain(card);
    if (wasShown) return;
    mark(card, label, true);
    note.textContent = "Looking at the picture…";
    try {
      const response = await call(predictPath(model, { explain: "cam", label }), { method: "POST", body, headers: { "content-type": type } });
      const { explanation } = (await response.json()).predictions[0];
      const speaks = explanation.shares.some(row => row.some(share => share > 0));
      view.append(make("img", { className: "heat", src: `data:image/png;base64,${explanation.heatmap}`, alt: "" }));
      view.dataset.label = label;
      note.textContent = speaks ? `Warm: what speaks for ${label}` : `Nothing in the picture speaks for ${label}`;
      say(`Heat map over ${card.dataset.name}: what speaks for ${label}`);
    } catch (error) {
      unexplain(card);
      note.textContent = error.message;
      say(error.message);
    }
  }

  function unexplain(card) {
    const view = card.querySelector(".view");
    view.querySelector(".heat")?.remove();
    delete view.dataset.label;
    card.querySelectorAll("[aria-pressed=true]").forEach(button => button.setAttribute("aria-pressed", "false"));
    card.querySelector("figcaption").textContent = HINT;
  }

  const mark = (card, label, pressed) => card.querySelectorAll("[aria-pressed]").forEach(button => {
    if (button.textContent === label) button.setAttribute("aria-pressed", String(pressed));
  });

  // The name of a label or number; a button where it can be explained.
  function nameOf(label, why, tag) {
    if (!why) return make(tag, { className: "name", title: label }, label);
    const button = make("button", { type: "button", ariaPressed: "false", title: `Show what speaks for ${label}`, onclick: () => why(label) }, label);
    return make(tag, { className: "name" }, button);
  }

  // ---- answers

  function newCard(kind, name, ...content) {
    const into = make("div", { className: "answer" });
    const card = make("li", { className: `card ${kind}` }, ...content, into);
    card.dataset.name = name;
    at("cards").prepend(card);
    while (at("cards").children.length > MOST_CARDS) at("cards").lastChild.remove();
    at("results").hidden = false;
    return card;
  }

  function pictureCard(file) {
    const name = file.name || "Pasted picture";
    const address = URL.createObjectURL(file);
    const image = make("img", { src: address, alt: name });
    const view = make("div", { className: "view" }, image);
    const free = () => URL.revokeObjectURL(address);
    image.onload = free;
    image.onerror = () => { free(); image.replaceWith(make("p", { className: "quiet none" }, "No preview")); };
    return newCard("picture", name, make("figure", {}, view, make("figcaption", { className: "quiet" })));
  }

  function textCard(text) {
    return newCard("text", text.length > 60 ? `${text.slice(0, 60)}…` : text, make("blockquote", {}, text));
  }

  const fileName = card => card.matches(".picture") ? make("span", { className: "file" }, card.dataset.name) : null;

  function show(into, document, model, took, within, why) {
    const prediction = document.predictions[0];
    const time = within === null ? milliseconds(took) : `${milliseconds(took)}, ${milliseconds(within)} of it in the endpoint`;
    const raw = make("details", {}, make("summary", {}, "JSON"), make("pre", { tabIndex: 0 }, make("code", {}, JSON.stringify(document, null, 2))));
    const who = state.models.length > 1 ? make("span", {}, model.name) : null;
    const foot = make("div", { className: "foot" }, fileName(into.parentElement), who, make("span", {}, time), raw);
    into.replaceChildren(...parts(prediction, model, why), foot);
  }

  function parts(prediction, model, why) {
    if (prediction.values) return [numbers(prediction.values, why)];
    if (!prediction.scores) return [];
    const given = prediction.labels ?? [prediction.label];
    const title = make("h3", {});
    if (!prediction.labels) {
      title.append(prediction.label, make("span", { className: "figure" }, percent(prediction.score)));
    } else if (given.length) {
      title.append(...given.map(label => make("span", { className: "chip" }, label)));
    } else {
      title.append("No label", make("span", { className: "figure" }, "none reaches its threshold"));
    }
    return [title, bars(prediction.scores, new Set(given), prediction.labels ? model : null, why)];
  }

  function bars(scores, given, model, why) {
    return make("ol", { className: "scores", ariaLabel: "Scores" }, ...Object.entries(scores).map(([label, score]) => {
      const fill = make("i");
      fill.style.width = `${100 * score}%`;
      const bar = make("span", { className: "bar", ariaHidden: "true" }, fill);
      const threshold = model?.thresholds?.[model.labels.indexOf(label)];
      if (threshold !== undefined) {
        const mark = make("b", { title: `Threshold ${percent(threshold)}` });
        mark.style.left = `${100 * threshold}%`;
        bar.append(mark);
      }
      return make("li", { className: given.has(label) ? "given" : "" }, nameOf(label, why, "span"), bar, make("span", { className: "figure" }, percent(score)));
    }));
  }

  function numbers(values, why) {
    return make("dl", { className: "values" }, ...Object.entries(values).map(([name, value]) =>
      make("div", {}, nameOf(name, why, "dt"), make("dd", {}, number(value)))));
  }

  function inWords(prediction) {
    if (prediction.values) return Object.entries(prediction.values).map(([name, value]) => `${name} ${number(value)}`).join(", ");
    if (prediction.labels) return prediction.labels.join(", ") || "no label";
    return `${prediction.label}, ${percent(prediction.score)}`;
  }

  // ---- the command line

  const quote = word => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  // Commas and semicolons mean something to curl within a form.
  const formName = name => /[,;"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;

  function showCommand() {
    const words = ["curl"];
    if (state.key) words.push('-H "Authorization: Bearer $API_KEY"');
    if (state.model.isText) words.push("--data-raw", quote(state.sent ?? "A text"));
    else if (state.sent?.length > 1) words.push(...state.sent.slice(0, 20).map(name => `-F ${quote(`file=@${formName(name)}`)}`));
    else words.push("--data-binary", quote(`@${state.sent?.[0] ?? "picture.jpg"}`));
    words.push(quote(base + predictPath(state.model)));
    at("curl").textContent = words.join(" ");
    at("command").hidden = false;
  }

  async function copy() {
    const text = at("curl").textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // only pages from https or this machine may
      getSelection().selectAllChildren(at("curl"));
      done = document.execCommand("copy");
    }
    at("copy").textContent = done ? "Copied" : "Selected";
    say(done ? "The command is in the clipboard." : "The command is selected.");
    setTimeout(() => { at("copy").textContent = "Copy"; }, 1500);
  }

  // ---- events

  const pictures = transfer => [...transfer.files].filter(file => file.type.startsWith("image/") || file.type === "");
  const hasFiles = event => [...event.dataTransfer.types].includes("Files");

  at("files").addEventListener("change", event => {
    const files = [...event.target.files];
    event.target.value = ""; // the same file may be chosen again
    askPictures(files);
  });
  addEventListener("paste", event => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    askPictures(pictures(event.clipboardData));
  });
  addEventListener("dragover", event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", event => {
    if (event.relatedTarget === null) document.body.classList.remove("dragging");
  });
  addEventListener("drop", event => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // or the browser would leave the page for the file
    document.body.classList.remove("dragging");
    askPictures([...event.dataTransfer.files]);
  });
  at("model").addEventListener("change", event => choose(event.target.value).catch(complain));
  at("for-texts").addEventListener("submit", event => {
    event.preventDefault();
    askText(at("text").value);
  });
  at("text").addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("for-texts").requestSubmit();
  });
  at("key-field").addEventListener("submit", event => {
    event.preventDefault();
    state.key = at("key").value.trim();
    if (state.model) showCommand();
    else load();
  });
  at("copy").addEventListener("click", copy);
  at("clear").addEventListener("click", () => {
    at("cards").replaceChildren();
    at("results").hidden = true;
    say("The answers are gone.");
  });
  at("openapi").href = `${base}openapi.json`;
  at("metrics").href = `${base}metrics`;
  load();
})();
