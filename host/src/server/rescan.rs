//! The look at the tenants' directories whenever something in them seems to have changed.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::connections::Connections;
use crate::registry::{Registry, Watch};
use crate::sandbox::ready;
use crate::tenants::{self, Refreshed, Threads};

/// Keeps the tenants' commands as their directories are, until the server drains.
pub async fn keep_commands(
    mut watch: Watch,
    connections: Arc<Connections>,
    loading: Arc<Mutex<()>>,
    registry: Arc<Registry>,
    aside: Arc<Threads>,
) {
    let mut again = false;
    loop {
        // Before the tenants are looked at: a reload that gives them other directories rings after it has stored them.
        let rung = connections.notices.next();
        watch.set(connections.host.tenants.load().values().flat_map(|tenant| tenant.directories()).cloned());
        tokio::select! {
            () = watch.hint(again) => {}
            () = registry.compiled() => {}
            () = rung => {}
            () = connections.notices.draining().cancelled() => return,
        }
        let _loading = loading.lock().await;
        // A reload may have made others meanwhile.
        let tenants = connections.host.tenants.load_full();
        let registry = Arc::clone(&registry);
        let refreshed = match aside.run(move || tenants::refresh(&tenants, &registry)).await {
            Ok(refreshed) => refreshed,
            Err(_) => {
                tracing::error!("a rescan of the commands has panicked");
                Refreshed::default()
            }
        };
        again = refreshed.unsettled;
        connections.loops.on_each(ready::let_go);
        if refreshed.changed {
            // Connections keep instances of commands that are no more.
            connections.notices.ring();
        }
    }
}
