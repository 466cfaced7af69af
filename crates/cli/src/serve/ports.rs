//! The ports that are asked for, opened before anything else can fail.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tracewell_ingest::Listeners;
use tracewell_ingest::listen::{Listener, bind};
use tracewell_ingest::tls::Tls;

use crate::config::Config;
use crate::config::values::Endpoint;

/// All open ports.
pub(super) struct Ports {
    pub(super) receivers: Listeners,
    pub(super) http: Vec<Listener>,
    pub(super) query_grpc: Vec<Listener>,
}

/// Where a client on this machine finds each surface; `None` if it is off.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    pub(super) http: Option<Address>,
    pub(super) query_grpc: Option<Address>,
    pub(super) otlp_grpc: Option<Address>,
    pub(super) otlp_http: Option<Address>,
}

/// Host and port of a surface, and whether it speaks TLS.
#[derive(Debug, Clone)]
pub(super) struct Address {
    authority: String,
    pub(super) is_tls: bool,
}

// === impl Ports ===

impl Ports {
    pub(super) fn open(config: &Config, tls: Option<&Arc<Tls>>) -> Result<Self> {
        let (listen, encrypted) = (&config.listen, config.tls.listeners);
        let open = |endpoint: &Endpoint, is_tls: bool, key: &str| {
            let tls = tls.filter(|_| is_tls);
            open(endpoint, &listen.host, key, tls)
        };
        Ok(Self {
            receivers: Listeners {
                grpc: open(&listen.otlp_grpc, encrypted.otlp_grpc, "listen.otlp_grpc")?,
                http: open(&listen.otlp_http, encrypted.otlp_http, "listen.otlp_http")?,
            },
            http: open(&listen.http, encrypted.http, "listen.http")?,
            query_grpc: open(&listen.query_grpc, encrypted.http, "listen.query_grpc")?,
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            http: address(&self.http),
            query_grpc: address(&self.query_grpc),
            otlp_grpc: address(&self.receivers.grpc),
            otlp_http: address(&self.receivers.http),
        }
    }
}

// === impl Address ===

impl Address {
    /// As a URL has it.
    pub(super) fn http(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)?;
        if self.is_tls {
            f.write_str(" with TLS")?;
        }
        Ok(())
    }
}

fn open(
    endpoint: &Endpoint,
    host: &str,
    key: &str,
    tls: Option<&Arc<Tls>>,
) -> Result<Vec<Listener>> {
    let Some((host, port)) = endpoint.address(host) else {
        return Ok(Vec::new());
    };
    let addresses: Vec<SocketAddr> = (host.as_str(), port)
        .to_socket_addrs()
        .with_context(|| format!("{key}: host {host:?} has no address"))?
        .collect();
    // A name such as localhost may have several addresses; all of them are meant, and port 0 is the
    // same free port on none of them, so the first is enough then.
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(Listener {
            socket: bind(address, key)?,
            tls: tls.map(Arc::clone),
        });
        if port == 0 {
            break;
        }
    }
    if listeners.is_empty() {
        bail!("{key}: host {host:?} has no address");
    }
    Ok(listeners)
}

fn address(listeners: &[Listener]) -> Option<Address> {
    let listener = listeners.first()?;
    // Nobody connects to "any address"; on this machine loopback is one of them.
    let authority = match listener.socket.local_addr().ok()? {
        SocketAddr::V4(it) if it.ip().is_unspecified() => format!("127.0.0.1:{}", it.port()),
        SocketAddr::V6(it) if it.ip().is_unspecified() => format!("[::1]:{}", it.port()),
        other => other.to_string(),
    };
    Some(Address {
        authority,
        is_tls: listener.tls.is_some(),
    })
}
