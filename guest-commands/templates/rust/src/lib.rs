//! `{{name}} [NAME]` greets somebody. The setting `greeting` says how.

wit_bindgen::generate!({ path: "wit", world: "command", generate_all });

use wasi::config::store;
use wasmline::command::connection;

struct Command;

impl Guest for Command {
    /// Runs once for each line, in a fresh instance, on the words that followed the command's name. The text of an
    /// `Err` ends the reply, after `error: failed: `.
    fn run(args: Vec<String>) -> Result<(), String> {
        let whom = match args.as_slice() {
            [] => connection::peer(),
            [name] => name.clone(),
            _ => return Err("usage: {{name}} [NAME]".to_owned()),
        };
        let greeting = store::get("greeting").ok().flatten().unwrap_or_else(|| "Hello".to_owned());
        connection::write(format!("{greeting}, {whom}!\n").as_bytes()).map_err(|error| error.to_string())
    }
}

export!(Command);
