// Decisions, collected into a file and a command: a page cannot write beside the RTSTRUCT, and holds nobody's name.

function decisions() {
  const all = [];
  for (const row of document.querySelectorAll("[data-decide]")) {
    const chosen = row.querySelector("input[type=radio]:checked");
    const comment = row.querySelector("input[type=text]").value.trim();
    if (chosen) all.push({ roi: row.dataset.decide, decision: chosen.value, comment });
  }
  return all;
}

function reviewChanged() {
  const all = decisions(), open = document.querySelectorAll("[data-decide]").length - all.length;
  const lost = [...document.querySelectorAll("[data-decide]")].filter(
    (row) => !row.querySelector("input[type=radio]:checked") && row.querySelector("input[type=text]").value.trim());
  document.getElementById("save-decisions").disabled = !all.length;
  const text = all.length ? `${all.length} decided, ${open} left open.` : "Nothing is decided yet.";
  document.getElementById("decided").textContent = text + (lost.length ? " A comment without a decision is not saved." : "");
}

function saveDecisions() {
  const form = document.getElementById("review-form");
  const value = { rtstruct_sha256: form.dataset.sha256, decisions: decisions() };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2) + "\n"], { type: "application/json" }));
  link.download = form.dataset.file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  document.getElementById("decided").textContent = `Saved as ${form.dataset.file}. Now run the command, beside the RTSTRUCT.`;
}

async function copyCommand() {
  const command = document.getElementById("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    document.getElementById("decided").textContent = "The command is copied.";
  } catch {
    getSelection().selectAllChildren(command); // where the clipboard is closed to pages
    document.getElementById("decided").textContent = "The command is selected: press Ctrl+C.";
  }
}

const reviewForm = document.getElementById("review-form");
if (reviewForm) {
  reviewForm.addEventListener("input", reviewChanged);
  reviewForm.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("save-decisions").addEventListener("click", saveDecisions);
  document.getElementById("copy-command").addEventListener("click", copyCommand);
  document.getElementById("accept-passed").addEventListener("click", () => {
    for (const row of document.querySelectorAll("[data-decide][data-light=pass]")) row.querySelector("input[value=accept]").checked = true;
    reviewChanged();
  });
}
