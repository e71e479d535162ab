//! What a connection goes through before it is known whose it is: the proxy's header, TLS, the token.
//!
//! All of it together has one deadline. Until it is over a connection holds a place among the handshakes only.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::PollSemaphore;

use super::connections::{Connections, FULL};
use super::entrance::{Entrance, Origin, Recognised};
use super::places::Holder;
use super::proxy;
use super::standing::{Evidence, Standing};
use super::tls;
use super::tokens::Token;
use crate::config;
use crate::error::{Code, Failure};
use crate::identity::{Credential, Identity, Source};
use crate::line::Line;
use crate::wire::socket::Socket;
use crate::wire::{Gone, Input, Transport, Wire};

/// What a client with a good token reads.
const WELCOME: &str = "ok\n";
/// How the first line begins where a token is asked for.
const AUTH: &str = "auth ";

/// A client that has shown whose it is.
pub struct Arrival {
    /// Its connection.
    pub wire: Arc<Wire>,
    /// The tenant that it is served for.
    pub tenant: Arc<str>,
    /// Who it is.
    pub identity: Identity,
    /// What its connection counts for.
    pub source: Source,
    /// What it has shown, where that is more than that it came.
    pub standing: Option<Box<Standing>>,
}

/// A connection that comes to nothing.
pub struct Refused {
    /// Where it came from.
    pub peer: String,
    /// Why, for the operator.
    pub reason: String,
    /// Its connection and what it is told, where the client could understand it.
    pub answer: Option<(Arc<Wire>, String)>,
}

/// One listener's handshake with one connection.
pub struct Handshake<'a> {
    /// What all connections share.
    pub shared: &'a Arc<Connections>,
    /// The settings when it came.
    pub settings: &'a Arc<config::Server>,
    /// What the listener asks for.
    pub entrance: &'a Entrance,
    /// Where to find what it asks for later.
    pub rules: &'a Arc<ArcSwap<Entrance>>,
}

impl Handshake<'_> {
    /// Takes a connection whose tenant is known without reading from it.
    ///
    /// # Errors
    /// When nobody may come in this way.
    pub fn at_once(&self, socket: Socket, origin: Origin) -> Result<Arrival, Refused> {
        let wire = self.wire(socket, origin);
        match self.entrance.recognise(origin, &[]) {
            Ok(Recognised::As(credential, tenant)) => {
                Ok(self.arrival(wire, origin, credential, tenant, Evidence::Origin))
            }
            Ok(Recognised::ByToken { .. }) => Err(refused(origin, "it has not shown a token", None)),
            Err(failure) => Err(told(wire, origin, &failure)),
        }
    }

    /// Takes a connection through everything that its listener asks for.
    ///
    /// # Errors
    /// When it does not show in time whose it is, or there is no place for it.
    pub async fn shake(&self, socket: Socket, mut origin: Origin) -> Result<Arrival, Refused> {
        let deadline = Instant::now() + self.settings.handshake_timeout;
        let mut _of_source = None;
        if let (Some(_), Origin::Tcp(proxy)) = (&self.entrance.proxies, origin) {
            if !self.entrance.is_proxy(proxy.ip()) {
                let failure = Failure::new(Code::Denied, "this listener is for proxies");
                return Err(self.in_the_clear(socket, origin, &failure.text, &failure.line()));
            }
            let header = in_time(deadline, proxy::read_header(&socket)).await;
            match header.map_err(|error| refused(origin, format!("PROXY header: {error}"), None))? {
                Some(client) => origin = Origin::Tcp(client),
                None => tracing::debug!(peer = %origin, "the proxy speaks for itself"),
            }
            // The proxy itself is trusted with as many as there may be; its clients are not.
            let holder = (Holder::Source(origin.source()), self.settings.max_handshakes_per_source);
            match self.shared.handshakes.take([holder]) {
                Ok(place) => _of_source = Some(place),
                Err(_) => return Err(self.in_the_clear(socket, origin, "too many handshakes from its source", FULL)),
            }
        }
        let (transport, names) = match &self.entrance.tls {
            None => (Transport::from(socket), Vec::new()),
            Some(acceptor) => {
                let accept = in_turn(&self.shared.turns, tls::accept(acceptor, socket));
                let accepted = in_time(deadline, accept).await;
                let (tls, names) = accepted.map_err(|error| refused(origin, format!("TLS: {error}"), None))?;
                (Transport::from(tls), names)
            }
        };
        let wire = self.wire(transport, origin);
        match self.entrance.recognise(origin, &names) {
            Ok(Recognised::As(credential, tenant)) => {
                Ok(self.arrival(wire, origin, credential, tenant, Evidence::Names(names)))
            }
            Ok(Recognised::ByToken { only }) => {
                let token = self.token(&wire, origin, only.as_deref(), deadline).await?;
                wire.say(WELCOME);
                let credential = Credential::Token(token.name().to_owned());
                Ok(self.arrival(wire, origin, credential, token.tenant.clone(), Evidence::Token(token)))
            }
            Err(failure) => Err(told(wire, origin, &failure)),
        }
    }

    /// Reads the line with the token. It is not run, and it is in no record.
    async fn token(
        &self,
        wire: &Arc<Wire>,
        origin: Origin,
        only: Option<&str>,
        deadline: Instant,
    ) -> Result<Arc<Token>, Refused> {
        let denied = |text: &str| told(Arc::clone(wire), origin, &Failure::new(Code::Denied, text));
        let gone = |gone: Gone| refused(origin, gone.to_string(), None);
        let line = match timeout_at(deadline, wire.next_line()).await {
            Ok(input) => match input.map_err(gone)? {
                Input::Line(Line::Text(line)) => line,
                Input::Idle | Input::Slow => return Err(denied("no token came in time")),
                Input::End { .. } => return Err(refused(origin, "it ended before it had shown a token", None)),
                Input::Line(Line::BadEncoding(_) | Line::TooLong) => String::new(),
            },
            Err(_) => return Err(denied("no token came in time")),
        };
        let Some(presented) = line.strip_prefix(AUTH).map(str::trim).filter(|token| !token.is_empty()) else {
            return Err(denied("the first line here is `auth TOKEN`"));
        };
        loop {
            let now = Instant::now();
            let check = || self.shared.tokens.load().find(presented, only);
            let wait = match self.shared.failures.attempt(origin.source(), now, check) {
                Ok(Some(token)) => return Ok(token),
                Ok(None) => return Err(denied("this token is not accepted here")),
                Err(wait) => wait,
            };
            if now + wait > deadline {
                let seconds = wait.as_secs() + 1;
                let text = format!("too many wrong tokens came from where you are; try again in {seconds}s");
                return Err(denied(&text));
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                failed = wire.failed() => return Err(gone(failed)),
            }
        }
    }

    fn arrival(
        &self,
        wire: Arc<Wire>,
        origin: Origin,
        credential: Credential,
        tenant: Arc<str>,
        evidence: Evidence,
    ) -> Arrival {
        let standing = (credential != Credential::Listener).then(|| {
            let (rules, credential, tenant) = (Arc::clone(self.rules), credential.clone(), tenant.clone());
            Box::new(Standing { rules, origin, evidence, credential, tenant })
        });
        let identity =
            Identity { credential, listener: Arc::clone(&self.entrance.listener), peer: Arc::clone(wire.peer()) };
        Arrival { wire, tenant, identity, source: origin.source(), standing }
    }

    fn wire(&self, transport: impl Into<Transport>, origin: Origin) -> Arc<Wire> {
        Arc::new(Wire::new(transport, &origin.to_string(), Arc::clone(self.settings)))
    }

    /// A refusal before TLS: the client understands it only where there is none.
    fn in_the_clear(&self, socket: Socket, origin: Origin, reason: &str, text: &str) -> Refused {
        let wire = self.entrance.tls.is_none().then(|| self.wire(socket, origin));
        refused(origin, reason, wire.map(|wire| (wire, text.to_owned())))
    }
}

/// Runs a step that computes, in turn with others of its kind. A turn is one poll long: nobody has it while he waits for his
/// client. So of all the handshakes that could go on, no more than there are turns stand between a served client and its
/// thread.
async fn in_turn<T>(turns: &Arc<Semaphore>, step: impl Future<Output = T>) -> T {
    let mut turns = PollSemaphore::new(Arc::clone(turns));
    let mut step = pin!(step);
    poll_fn(|cx| {
        let _turn = ready!(turns.poll_acquire(cx));
        step.as_mut().poll(cx)
    })
    .await
}

/// As `io::Error`, for all that a step before the first line can fail with.
async fn in_time<T>(deadline: Instant, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(deadline, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn refused(origin: Origin, reason: impl Into<String>, answer: Option<(Arc<Wire>, String)>) -> Refused {
    Refused { peer: origin.to_string(), reason: reason.into(), answer }
}

fn told(wire: Arc<Wire>, origin: Origin, failure: &Failure) -> Refused {
    let reason = match &failure.cause {
        Some(cause) => format!("{}: {cause}", failure.text),
        None => failure.text.clone(),
    };
    refused(origin, reason, Some((wire, failure.line())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_not_held_while_a_client_is_waited_for() {
        let turns = Arc::new(Semaphore::new(1));
        let silent = in_turn(&turns, std::future::pending::<()>());
        let other = in_turn(&turns, async {
            tokio::task::yield_now().await;
            "done"
        });
        tokio::select! {
            biased;
            () = silent => unreachable!("it is silent"),
            done = other => assert_eq!(done, "done"),
        }
        assert_eq!(turns.available_permits(), 1);
    }
}
