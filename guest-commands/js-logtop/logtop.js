// `logtop [COUNT]` says which programs wrote most of the last lines of the system log.
//
// The log is printed by `tail`, which the operator has approved. The setting `file` names it, `lines` how far to look back.

import { write } from "wasmline:command/connection@0.1.0";
import { spawn } from "wasmline:command/process@0.1.0";
import { get } from "wasi:config/store@0.2.0-rc.1";

const TAIL = "/usr/bin/tail";
const CHUNK = 65536;
const BAR = 30;

// `Nov 23 10:00:00 host program[12]: text`, or the same with a time like `2026-11-23T10:00:00+00:00`.
const RECORD = /^(?:\w{3} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) \S+ ([^\s:[]+)/;

export function run(args) {
  const count = args.length ? Number(args[0]) : 5;
  if (args.length > 1 || !Number.isInteger(count) || count < 1) {
    throw "usage: logtop [COUNT]"; // what is thrown becomes the error that the client sees
  }
  const file = get("file") ?? "/var/log/syslog";
  const programs = new Map();
  for (const line of lastLines(file, get("lines") ?? "1000")) {
    const name = RECORD.exec(line)?.[1] ?? "(other)";
    programs.set(name, (programs.get(name) ?? 0) + 1);
  }
  const sorted = [...programs].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  reply(table(sorted.slice(0, count)));
}

/** The last lines of the file. */
function lastLines(file, lines) {
  const child = attempt(() => spawn(TAIL, ["-n", lines, file]));
  const decoder = new TextDecoder();
  let text = "";
  for (let bytes; (bytes = attempt(() => child.read(CHUNK))); ) {
    text += decoder.decode(bytes, { stream: true });
  }
  const status = attempt(() => child.wait());
  if (status.tag !== "exited" || status.val !== 0) {
    throw "tail could not read the log";
  }
  return text.split("\n").filter((line) => line);
}

/** One line for each program: its name, how many lines are its, and a bar. */
function table(rows) {
  const name = Math.max(...rows.map(([name]) => name.length));
  const most = rows[0]?.[1] ?? 0;
  const digits = String(most).length;
  return rows.map(([program, lines]) => {
    const bar = "#".repeat(Math.ceil((lines / most) * BAR));
    return `${program.padEnd(name)}  ${String(lines).padStart(digits)}  ${bar}`;
  });
}

/** Does what may fail in the host, and turns its failure, a value of the interface's `error`, into text. */
function attempt(action) {
  try {
    return action();
  } catch (error) {
    const { tag, val } = error.payload ?? {};
    throw tag ? [tag, val].filter((part) => typeof part === "string").join(": ") : String(error);
  }
}

function reply(lines) {
  write(new TextEncoder().encode(lines.map((line) => line + "\n").join("")));
}
