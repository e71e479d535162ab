// `{{name}} [NAME]` greets somebody. The setting `greeting` says how.

import { peer, write } from "wasmline:command/connection@0.1.0";
import { get } from "wasi:config/store@0.2.0-rc.1";

// Runs once for each line, in a fresh instance, on the words that followed the command's name. A string that is
// thrown ends the reply, after `error: failed: `.
export function run(args) {
  if (args.length > 1) {
    throw "usage: {{name}} [NAME]";
  }
  const whom = args[0] ?? peer();
  const greeting = get("greeting") ?? "Hello";
  write(new TextEncoder().encode(`${greeting}, ${whom}!\n`));
}
