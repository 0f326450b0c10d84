// Shows the origin's time and how long it took to get here.
const output = document.getElementById("time");
const started = performance.now();
fetch("/api/time")
  .then((response) => response.json())
  .then((time) => { output.textContent = `${time.now}, after ${Math.round(performance.now() - started)} ms`; })
  .catch((error) => { output.textContent = `no answer: ${error}`; });
