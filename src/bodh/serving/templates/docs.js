(() => {
  "use strict";
{% include "_theme.js" %}
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const place = location.href.replace(/docs\/?([?#].*)?$/, "");
  const table = (rows) => {
    const whole = make("table");
    for (const [name, text] of rows) {
      const row = whole.insertRow(), head = make("th");
      head.scope = "row";
      head.append(make("code", name));
      row.append(head, make("td", text));
    }
    return whole;
  };
  const outline = (schema, indent = "") => {
    if (!schema) return "";
    if (schema.type === "array") return `[${outline(schema.items, indent)}, …]`;
    if (schema.properties) {
      const inner = `${indent}  `;
      const lines = Object.entries(schema.properties).map(([name, one]) => `${inner}"${name}": ${outline(one, inner)}`);
      return `{\n${lines.join(",\n")}\n${indent}}`;
    }
    return [].concat(schema.type || "any").join(" or ");
  };
  // of a body that is JSON alone: the object to begin with; files go another way
  const asked = (body) => Boolean(body) && Object.keys(body.content).join() === "application/json";
  const example = (body) => {
    const fields = body.content["application/json"].schema.properties;
    return JSON.stringify("prompt" in fields ? { prompt: "Once", length: 40 } : "top" in fields ? { text: "a ___ dog" } : { text: "a dog" });
  };
  const curl = (path, verb, upload) => {
    const url = `${place}${path.slice(1)}`;
    if (verb === "GET") return `curl ${url}`;
    if (asked(upload)) return `curl ${url} -H 'Content-Type: application/json' -d '${example(upload)}'`;
    return upload ? `curl -F file=@photo.jpg ${url}\ncurl -F file=@a.jpg -F file=@b.jpg ${url}\ncurl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg ${url}` : `curl -X ${verb} ${url}`;
  };
  const tryOut = (path, verb, upload) => {
    const box = make("div"), row = make("div", undefined, "try"), button = make("button", "Send"), reply = make("pre");
    const json = asked(upload), file = make(json ? "textarea" : "input");
    if (json) { file.value = example(upload); file.rows = 2; } else file.type = "file";
    file.setAttribute("aria-label", json ? "JSON to send" : "File to send");
    reply.hidden = true;
    reply.tabIndex = 0;
    button.type = "button";
    if (upload) row.append(file);
    row.append(button);
    button.addEventListener("click", async () => {
      const options = { method: verb };
      if (json) { options.body = file.value; options.headers = { "Content-Type": "application/json" }; }
      else if (upload) {
        if (!file.files.length) { file.click(); return; }
        options.body = new FormData();
        options.body.append("file", file.files[0]);
      }
      reply.hidden = false;
      reply.textContent = "…";
      try {
        const word = path.split("/").pop(), able = models.find((one) => one.can.includes(word)) || models[0];
        const whole = json && !path.includes("{") ? `models/${encodeURIComponent(able.name)}${path}` : path.slice(1).replace("{name}", encodeURIComponent(able.name));
        const answer = await fetch(whole, options), text = await answer.text();
        let shown = text;
        try { shown = JSON.stringify(JSON.parse(text), (key, value) => typeof value === "string" && value.length > 300 ? `${value.slice(0, 60)}…` : Array.isArray(value) && value.length > 24 && typeof value[0] === "number" ? [...value.slice(0, 6), `… ${value.length} numbers`] : value, 2); } catch { /* shown as it came */ }
        reply.textContent = `${answer.status}\n${shown}`;
      } catch { reply.textContent = "the server cannot be reached"; }
    });
    box.append(row, reply);
    return box;
  };
  let models = [];
  (async () => {
    const holder = document.getElementById("routes");
    let api;
    try {
      api = await (await fetch("openapi.json")).json();
      models = (await (await fetch("models")).json()).models;
    } catch { holder.append(make("p", "The server cannot be reached.")); return; }
    for (const [path, verbs] of Object.entries(api.paths)) for (const [word, route] of Object.entries(verbs)) {
      const verb = word.toUpperCase(), upload = route.requestBody;
      const box = make("details", undefined, "card route"), head = make("summary"), inside = make("div", undefined, "inside");
      head.append(make("span", verb, "verb"), make("code", path), make("p", (route.description || route.summary || "").replaceAll("`", "").split("\n\n")[0]));
      const more = (route.description || "").replaceAll("`", "").split("\n\n").slice(1).join(" ");
      if (more) inside.append(make("p", more));
      inside.append(make("h3", "On the command line"), make("pre", curl(path, verb, upload)));
      const inputs = (route.parameters || []).map((one) => [one.name, `${one.in}; ${one.description || one.schema.type}${one.schema.default !== undefined ? `; ${one.schema.default} unless given` : ""}`]);
      if (inputs.length) inside.append(make("h3", "Parameters"), table(inputs));
      if (upload) inside.append(make("h3", "Body"), table(Object.entries(route.requestBody.content).map(([kind, one]) => [kind, kind === "application/json" ? Object.entries(one.schema.properties).map(([name, part]) => `${name}: ${part.description || part.type}`).join("; ") : kind.startsWith("multipart") ? "one file or several" : "one file as the body"])));
      const good = route.responses["200"], kind = good && good.content && good.content["application/json"];
      if (kind && kind.schema && kind.schema.properties) inside.append(make("h3", "Answer"), make("pre", outline(kind.schema)));
      inside.append(make("h3", "Status"), table(Object.entries(route.responses).map(([status, one]) => [status, one.description])));
      inside.append(make("h3", "Try it"), tryOut(path, verb, upload));
      box.append(head, inside);
      holder.append(box);
    }
  })();
})();
