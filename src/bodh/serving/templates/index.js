(() => {
  "use strict";
{% include "_theme.js" %}
  const at = (id) => document.getElementById(id);
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const percent = (share) => share >= .9995 && share < 1 ? "> 99.9 %" : share > 0 && share < .0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
  let models = [], model = null, asked = 0, shown = "";

  const fail = (message) => {
    at("answer").hidden = at("near").hidden = at("wrote").hidden = true;
    at("problem").textContent = message;
    at("wrong").hidden = false;
  };
  const choose = (name) => {
    model = models.find((one) => one.name === name) || models[0];
    document.title = `${model.name} · bodh`;
    at("title").textContent = model.name;
    const classes = model.class_names;
    const listed = classes.length > 12 ? `${classes.slice(0, 12).join(", ")} and ${classes.length - 12} more` : classes.join(", ");
    const writes = ["generate", "fill", "translate"].find((word) => model.can.includes(word));
    const does = { generate: "Goes on with a text.", fill: "Knows which words belong into the gaps of a text.", translate: "Translates texts." };
    const told = writes ? does[writes] : model.task === "regress" ? `Measures ${listed}.` : classes.length ? `Knows ${classes.length} classes: ${listed}.` : "Turns records into embeddings; it has no classes yet.";
    at("about").textContent = model.neighbours_among ? `${told} Compares with ${model.neighbours_among.toLocaleString("en")} training records.` : told;
    at("pictures").hidden = model.modality !== "image";
    const reads = model.input.name === "tokens";  // texts, and of pairs the one that is read
    at("texts").hidden = !reads;
    ways(writes);
    at("numbers").hidden = reads || model.modality === "image";
  };

  const ask = async (body, type) => {
    const mine = ++asked, started = performance.now();
    const near = model.neighbours_among ? 8 : 0;
    const route = model.can.includes("predict") ? `predict?top=6&neighbours=${near}` : near ? `neighbours?top=${near}` : "embed";
    at("busy").hidden = false;
    try {
      const reply = await fetch(`models/${encodeURIComponent(model.name)}/${route}`, { method: "POST", body, headers: type ? { "Content-Type": type } : {} });
      const text = await reply.text();
      if (mine !== asked) return null;
      let data;
      try { data = JSON.parse(text); } catch { data = { error: `the server answered ${reply.status}` }; }
      if (!reply.ok) { fail(data.error || `the server answered ${reply.status}`); return null; }
      data.there = performance.now() - started;
      return data;
    } catch {
      if (mine === asked) fail("The server cannot be reached.");
      return null;
    } finally {
      if (mine === asked) at("busy").hidden = true;
    }
  };

  const strip = (values) => {
    const canvas = make("canvas", undefined, "strip"), rows = 4, columns = Math.ceil(values.length / rows);
    canvas.width = columns; canvas.height = rows;
    const pen = canvas.getContext("2d"), most = Math.max(...values.map(Math.abs)) || 1;
    values.forEach((value, i) => {
      pen.fillStyle = value < 0 ? `rgb(224 123 0/${Math.min(1, -value / most)})` : `rgb(80 118 240/${Math.min(1, value / most)})`;
      pen.fillRect(Math.floor(i / rows), i % rows, 1, 1);
    });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${values.length} numbers as colours`);
    return canvas;
  };

  const show = (data) => {
    at("wrong").hidden = true;
    at("answer").hidden = false;
    const bars = at("bars");
    bars.replaceChildren();
    let near = null;
    if (data.predictions) {
      const [answer] = data.predictions;
      near = answer.neighbours;
      if (answer.values) {
        const told = Object.entries(answer.values).map(([name, value]) => [name, Number(value.toPrecision(4))]);
        at("top").textContent = told.length === 1 ? `${told[0][0]}: ${told[0][1]}` : told.map(([name, value]) => `${name} ${value}`).join(", ");
        at("sure").textContent = "measured by the model";
      } else if (answer.words) {
        at("top").textContent = answer.words.map((one) => one.tag === "O" ? one.word : `${one.word}/${one.tag}`).join(" ");
        at("sure").textContent = (answer.entities || []).map((one) => `${one.text}: ${one.type} ${percent(one.probability)}`).join(", ");
      } else if (answer.classes) {
        at("top").textContent = answer.classes.length ? answer.classes.join(", ") : "none of the classes";
        at("sure").textContent = "classes above one half";
      } else {
        at("top").textContent = answer.class;
        at("sure").textContent = `probability ${percent(answer.probability)}`;
      }
      for (const one of answer.top || []) {
        const row = make("li", undefined, answer.classes && answer.classes.includes(one.class) ? "on" : "");
        const bar = make("i");
        bar.style.setProperty("--p", one.probability);
        row.append(make("b", one.class), make("span", percent(one.probability), "p"), bar);
        bars.append(row);
      }
    } else if (data.neighbours) {
      [near] = data.neighbours;
      const most = near[0];
      at("top").textContent = most && most.label ? `Most like: ${most.label}` : "Nearest records below";
      at("sure").textContent = most ? `cosine similarity ${most.similarity.toFixed(3)}` : "";
    } else {
      at("top").textContent = `${data.dim} numbers`;
      at("sure").textContent = "the embedding of this record";
      const row = make("li");
      row.append(strip(data.embeddings[0]));
      row.style.display = "block";
      bars.append(row);
    }
    at("meta").textContent = `${data.milliseconds.toFixed(1)} ms on the server, ${data.there.toFixed(0)} ms in all`;
    const list = at("neighbours");
    list.replaceChildren();
    for (const one of near || []) {
      const item = make("li"), look = make(one.text ? "blockquote" : "img", one.text), words = make("div", one.label || "no label");
      if (one.text) look.dir = "auto";
      else {
        look.addEventListener("load", () => look.classList.toggle("px", look.naturalWidth <= 48));
        look.src = one.thumbnail;
        look.alt = one.label ? `training record: ${one.label}` : "training record";
      }
      item.title = one.id;
      words.append(make("br"), make("small", one.similarity.toFixed(3)));
      item.append(look, words);
      list.append(item);
    }
    list.classList.toggle("told", Boolean(near && near.length && near[0].text));
    at("near").hidden = !(near && near.length);
  };

  const take = async (file) => {
    if (!file) return;
    if (shown) URL.revokeObjectURL(shown);
    shown = URL.createObjectURL(file);
    const picture = at("picture");
    picture.hidden = false;
    picture.onerror = () => { picture.hidden = true; };
    picture.onload = () => { picture.classList.toggle("px", picture.naturalWidth <= 64); };
    picture.src = shown;
    picture.alt = `your picture ${file.name || ""}`;
    at("name").textContent = file.name || "pasted picture";
    at("preview").hidden = false;
    const form = new FormData();
    form.append("file", file, file.name || "pasted picture");
    const data = await ask(form);
    if (data) { show(data); at("drop").classList.add("small"); at("call").textContent = "Another picture"; }
  };

  at("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
  at("shot").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
  at("camera").addEventListener("click", () => at("shot").click());
  let depth = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; document.body.classList.add("over"); });
  addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) { depth = 0; document.body.classList.remove("over"); } });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("over");
    if (model && model.modality === "image") take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file && model && model.modality === "image") take(file);
  });
  at("numbers").addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = at("values").value.split(/[\s,;]+/).filter(Boolean).map(Number);
    at("preview").hidden = true;
    const data = await ask(JSON.stringify({ inputs: [values] }), "application/json");
    if (data) show(data);
  });
{% include "_texts.js" %}
  at("texts").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("preview").hidden = true;
    if (way) { write(); return; }
    const data = await ask(JSON.stringify({ text: at("words").value }), "application/json");
    if (data) show(data);
  });
  at("words").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("texts").requestSubmit();
  });
  at("models").addEventListener("change", (event) => {
    choose(event.target.value);
    at("answer").hidden = at("near").hidden = at("wrong").hidden = at("wrote").hidden = true;
  });

  (async () => {
    try {
      models = (await (await fetch("models")).json()).models;
    } catch {
      fail("The server cannot be reached.");
      return;
    }
    for (const one of models) at("models").append(new Option(one.name, one.name));
    at("pick").hidden = models.length < 2;
    choose(models[0].name);
    if (!at("numbers").hidden) {
      const facts = await (await fetch("model")).json();
      at("shape").textContent = facts.input.shape.slice(1).join(" × ");
    }
  })();
})();
