//! Whose a connection is: by its listener, its user, its certificate or its token, behind a proxy or not; who is refused,
//! and what strangers cannot do to others before they have shown whose they are.

mod bounds;
mod proxies;
mod tls;
mod tokens;
mod unix;

use crate::support::HostBuilder;

/// A host with the tenants `default`, `alice` and `bob`, all with the same commands. `whoami` tells which one is served.
fn tenants() -> HostBuilder {
    let tenant = |name: &str| format!("[tenants.{name}]\ncommands = [\"commands\"]");
    HostBuilder::new().command("exit").fixture("whoami").fixture("readback").more(&tenant("alice")).more(&tenant("bob"))
}
