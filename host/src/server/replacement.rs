//! What a reload does with the listeners: the new are opened before those that are to go are closed.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use super::entrance::Entrance;
use super::{Door, Server, socket_file};
use crate::config::{Config, Endpoint, Listener};

impl Server {
    /// A listener that stays where it is keeps its socket and gets its new rules, so nobody finds it closed. Those that are
    /// to go stay as long as a new one cannot be opened, for they may be what it was meant to replace.
    pub(super) async fn replace_listeners(&mut self, config: &Config) {
        let (going, new) = self.change_what_stays(config);
        self.open_what_was_lost().await;
        let has_tenant = |door: &Door| door.listener.is_for_one_of(|name| config.tenants.contains_key(name));
        let (mut going, ended): (Vec<Door>, Vec<Door>) = going.into_iter().partition(has_tenant);
        // Where nobody can be served any more there is nothing to go on with.
        for door in ended {
            door.close().await;
        }
        if self.open_new(new, &mut going).await {
            for door in going {
                door.close().await;
            }
        } else {
            self.keep(going);
        }
    }

    /// Gives the listeners that stay their new rules. Returns those that are to go, and what is new.
    fn change_what_stays<'a>(&mut self, config: &'a Config) -> (Vec<Door>, Vec<&'a Listener>) {
        let mut old = std::mem::take(&mut self.doors);
        let mut new = Vec::new();
        for listener in &config.listeners {
            let stays = |door: &Door| door.listener == *listener || door.listener.place.is_same(&listener.place);
            match old.iter().position(stays) {
                Some(index) => {
                    let mut door = old.swap_remove(index);
                    door.change(listener);
                    self.doors.push(door);
                }
                None => new.push(listener),
            }
        }
        (old, new)
    }

    /// Opens those anew whose file somebody has removed: nobody finds them any more. Who is connected stays so.
    async fn open_what_was_lost(&mut self) {
        for mut door in std::mem::take(&mut self.doors) {
            if door.file.as_ref().is_some_and(|file| !file.is_there()) {
                door.shut().await;
                if !self.reopen(&mut door) {
                    continue;
                }
                tracing::warn!(address = door.place, "somebody had removed the socket; listening again");
            }
            self.doors.push(door);
        }
    }

    /// Has a listener that was shut accept again, with the rules that it has.
    fn reopen(&self, door: &mut Door) -> bool {
        match self.open_place(&door.endpoint()) {
            Ok(listening) => {
                door.file = listening.file();
                (door.stop, door.accepting) = self.accept(listening, &door.entrance);
                true
            }
            Err(error) => {
                tracing::error!(address = door.place, error, "no longer listening");
                door.entrance.store(Arc::new(Entrance::closed(&door.place)));
                false
            }
        }
    }

    /// Opens the new listeners, and says whether that went well with all of them. Of those that are to go it shuts what has
    /// a place that is needed, and that not before all else is open.
    async fn open_new(&mut self, new: Vec<&Listener>, going: &mut [Door]) -> bool {
        let mut all_open = true;
        let mut waiting = Vec::new();
        for listener in new {
            match Entrance::new("", listener) {
                Ok(entrance) if going.iter().any(|door| door.is_in_the_way_of(&listener.place)) => {
                    waiting.push((listener, entrance));
                }
                Ok(entrance) => all_open &= self.try_to_listen(listener, entrance),
                Err(error) => {
                    refuse(listener, &error);
                    all_open = false;
                }
            }
        }
        if !all_open {
            waiting.iter().for_each(|(listener, _)| refuse(listener, "it waits for a place that is not given up"));
            return false;
        }
        for door in going {
            if waiting.iter().any(|(listener, _)| door.is_in_the_way_of(&listener.place)) {
                door.shut().await;
            }
        }
        for (listener, entrance) in waiting {
            all_open &= self.try_to_listen(listener, entrance);
        }
        all_open
    }

    fn try_to_listen(&mut self, listener: &Listener, entrance: Entrance) -> bool {
        let opened = self.open(listener, entrance);
        match opened {
            Ok((listening, entrance)) => {
                self.listen(listener, listening, entrance);
                true
            }
            Err(error) => {
                refuse(listener, &error);
                false
            }
        }
    }

    /// Goes on with listeners that were to go.
    fn keep(&mut self, going: Vec<Door>) {
        for mut door in going {
            // Its place may have been needed, in vain.
            if door.accepting.is_none() && !self.reopen(&mut door) {
                continue;
            }
            tracing::error!(
                address = door.place,
                "listener not closed, for one that may be meant to replace it cannot be opened; it goes on as it was"
            );
            self.doors.push(door);
        }
    }
}

fn refuse(listener: &Listener, error: &str) {
    tracing::error!(address = %listener.place, error, "listener not opened");
}

impl Door {
    /// Where it is, with the real port.
    fn endpoint(&self) -> Endpoint {
        match (&self.listener.place, self.place.parse()) {
            (Endpoint::Tcp(_), Ok(address)) => Endpoint::Tcp(address),
            (place, _) => place.clone(),
        }
    }

    /// Whether nobody else can listen on a place as long as this does.
    fn is_in_the_way_of(&self, place: &Endpoint) -> bool {
        match (self.endpoint(), place) {
            (Endpoint::Tcp(own), Endpoint::Tcp(other)) => are_in_each_others_way(own, *other),
            (Endpoint::Unix { path: own, .. }, Endpoint::Unix { path: other, .. }) => {
                // The same file may have several names.
                matches!((fs::canonicalize(own), fs::canonicalize(other)), (Ok(own), Ok(other)) if own == other)
            }
            _ => false,
        }
    }

    /// Takes over other rules, and certificates as they are now. Those that cannot be used leave the old in force.
    fn change(&mut self, listener: &Listener) {
        let entrance = Entrance::new(&self.place, listener).or_else(|error| {
            // A certificate that will not do keeps nobody in whom the rules know no more.
            let Some(entrance) = self.entrance.load().with_rules_of(listener) else { return Err(error) };
            let told = "certificates of a listener not changed; it goes on with those that it had";
            tracing::error!(address = self.place, error, "{told}");
            Ok(entrance)
        });
        let changed = entrance.and_then(|entrance| {
            if let Endpoint::Unix { path, mode } = &listener.place
                && listener.place != self.listener.place
            {
                socket_file::set_mode(path, *mode).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            Ok(entrance)
        });
        match changed {
            Ok(entrance) => {
                self.entrance.store(Arc::new(entrance));
                self.listener = listener.clone();
            }
            Err(error) => {
                tracing::error!(address = self.place, error, "listener not changed; it goes on as it was");
            }
        }
    }

    /// Gives its socket up, but not those whom it has let in.
    async fn shut(&mut self) {
        self.stop.cancel();
        if let Some(accepting) = self.accepting.take()
            && let Err(error) = accepting.await
        {
            tracing::error!(%error, "a listener ended badly");
        }
    }

    /// Gives it up, with all who have shown it something.
    async fn close(mut self) {
        tracing::info!(address = self.place, "no longer listening");
        self.shut().await;
        self.entrance.store(Arc::new(Entrance::closed(&self.place)));
    }
}

/// Whether the kernel lets only one of two sockets listen.
fn are_in_each_others_way(one: SocketAddr, other: SocketAddr) -> bool {
    let [own, others] = [one.ip().to_canonical(), other.ip().to_canonical()];
    one.port() == other.port() && (own == others || own.is_unspecified() || others.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_is_in_the_way_of_each() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(are_in_each_others_way(one, other), expected, "{one} {other}");
            assert_eq!(are_in_each_others_way(other, one), expected, "{other} {one}");
        }
    }
}
