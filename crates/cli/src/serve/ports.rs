//! The ports that are asked for, opened before anything else can fail.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use anyhow::{Context, Result, bail};
use tracewell_ingest::Listeners;
use tracewell_ingest::listen::bind;

use crate::config::Listen;
use crate::config::values::Endpoint;

/// All open ports.
pub(super) struct Ports {
    pub(super) receivers: Listeners,
    pub(super) http: Vec<TcpListener>,
}

/// Where a client on this machine finds each surface; `None` if it is off.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    pub(super) http: Option<String>,
    pub(super) otlp_grpc: Option<String>,
    pub(super) otlp_http: Option<String>,
}

// === impl Ports ===

impl Ports {
    pub(super) fn open(listen: &Listen) -> Result<Self> {
        Ok(Self {
            receivers: Listeners {
                grpc: open(&listen.otlp_grpc, &listen.host, "listen.otlp_grpc")?,
                http: open(&listen.otlp_http, &listen.host, "listen.otlp_http")?,
            },
            http: open(&listen.http, &listen.host, "listen.http")?,
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            http: address(&self.http),
            otlp_grpc: address(&self.receivers.grpc),
            otlp_http: address(&self.receivers.http),
        }
    }
}

fn open(endpoint: &Endpoint, host: &str, key: &str) -> Result<Vec<TcpListener>> {
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
        listeners.push(bind(address, key)?);
        if port == 0 {
            break;
        }
    }
    if listeners.is_empty() {
        bail!("{key}: host {host:?} has no address");
    }
    Ok(listeners)
}

fn address(listeners: &[TcpListener]) -> Option<String> {
    let address = listeners.first()?.local_addr().ok()?;
    // Nobody connects to "any address"; on this machine loopback is one of them.
    Some(match address {
        SocketAddr::V4(it) if it.ip().is_unspecified() => format!("127.0.0.1:{}", it.port()),
        SocketAddr::V6(it) if it.ip().is_unspecified() => format!("[::1]:{}", it.port()),
        other => other.to_string(),
    })
}
