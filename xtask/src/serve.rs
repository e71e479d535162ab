//! `cargo xtask serve`: the freshly built host on the shipped commands.

use std::env;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::shell::{self, Result};
use crate::tree::Tree;

const DEFAULT_ADDRESS: &str = "127.0.0.1:9999";

/// Says how to talk to the host and becomes it, so that signals go straight to it. Returns only on failure.
pub fn serve(tree: &Tree, args: &[String]) -> Result {
    let mut host = Command::new(tree.served_binary());
    host.current_dir(tree.root()).arg("serve");
    if flag(args, "--config").is_none() && env::var_os("WASMLINE_CONFIG").is_none() {
        host.args(["--config", "wasmline.toml"]);
        // That file has them in target/, where they are not if CARGO_TARGET_DIR says otherwise.
        let named = flag(args, "--commands").is_some() || env::var_os("WASMLINE_COMMANDS").is_some();
        if !named && tree.commands() != tree.root().join("target/commands") {
            host.arg("--commands").arg(tree.commands());
        }
    }
    host.args(args);
    let line = shell::shown(&host);
    let elsewhere = ["WASMLINE_CONFIG", "WASMLINE_LISTEN"].into_iter().any(|name| env::var_os(name).is_some());
    let (ip, port) = where_to_connect(args, elsewhere);
    eprintln!(
        "+ {line}

Once it is listening, talk to it from another terminal:

    nc {ip} {port}

and type `help`, `lastlog`, `comphash /etc/hostname` or `exit`. Ctrl-C here stops it.
"
    );
    Err(format!("cannot start `{line}`: {}", host.exec()))
}

/// Where the host will listen, as far as that can be told here; `elsewhere` when the environment decides it.
fn where_to_connect(args: &[String], elsewhere: bool) -> (String, String) {
    let address = match flag(args, "--listen") {
        Some(address) => address,
        None if elsewhere || flag(args, "--config").is_some() => "",
        None => DEFAULT_ADDRESS,
    };
    match address.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => (address.ip().to_string(), address.port().to_string()),
        // The host will say where it listens, or what is wrong with the address.
        _ => ("HOST".to_owned(), "PORT".to_owned()),
    }
}

/// The value of `--name VALUE` or `--name=VALUE`.
fn flag<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    args.iter().enumerate().find_map(|(at, arg)| match arg.strip_prefix(name)? {
        "" => args.get(at + 1).map(String::as_str),
        rest => rest.strip_prefix('='),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(args: &[&str]) -> String {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        let (ip, port) = where_to_connect(&args, false);
        format!("{ip} {port}")
    }

    #[test]
    fn the_hint_follows_what_decides() {
        assert_eq!(hint(&[]), "127.0.0.1 9999");
        assert_eq!(hint(&["--max-connections", "2"]), "127.0.0.1 9999");
        assert_eq!(hint(&["--listen", "127.0.0.1:7000"]), "127.0.0.1 7000");
        assert_eq!(hint(&["--listen=[::1]:7000"]), "::1 7000");
        assert_eq!(hint(&["--listen", "127.0.0.1:0"]), "HOST PORT");
        assert_eq!(hint(&["--listen"]), "127.0.0.1 9999");
        assert_eq!(hint(&["--config", "other.toml"]), "HOST PORT");
        assert_eq!(hint(&["--config", "other.toml", "--listen", "127.0.0.1:7000"]), "127.0.0.1 7000");
        assert_eq!(where_to_connect(&[], true).0, "HOST");
    }
}
