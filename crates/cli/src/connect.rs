//! Connections to servers, encrypted where the URL says so.
//!
//! Whom to trust is what the system says: its certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! name. Who asks is what `TRACEWELL_TOKEN` says, where a server wants to know.

use std::sync::{Arc, LazyLock, OnceLock};

use anyhow::{Context, Result, bail};
use http::request::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tracewell_ingest::TENANT_HEADER;
use tracewell_model::TenantId;

/// A connection of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a connection speaks once it is there; the name is that of ALPN (RFC 7301).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Alpn {
    Http1,
    Http2,
}

/// `authority` is host and port.
pub(crate) async fn connect(authority: &str, is_tls: bool, alpn: Alpn) -> Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    if !is_tls {
        return Ok(Box::new(stream));
    }
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())
        .with_context(|| format!("{host:?} is no name that a certificate could have"))?;
    let mut config = trusting()?.as_ref().clone();
    config.alpn_protocols = vec![
        match alpn {
            Alpn::Http1 => b"http/1.1".as_slice(),
            Alpn::Http2 => b"h2",
        }
        .to_vec(),
    ];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.with_context(|| {
        format!(
            "no TLS connection to {authority}; SSL_CERT_FILE names a file of certificates to trust"
        )
    })?;
    Ok(Box::new(stream))
}

/// Read once: the certificates of a system are hundreds.
fn trusting() -> Result<Arc<ClientConfig>> {
    static TRUSTING: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = TRUSTING.get() {
        return Ok(Arc::clone(config));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (n_added, _) = roots.add_parsable_certificates(found.certs);
    if n_added == 0 {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        bail!(
            "this system names nobody to trust ({}); SSL_CERT_FILE names a file of certificates",
            why.join("; ")
        );
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::clone(TRUSTING.get_or_init(|| Arc::new(config))))
}

/// Says who asks: the tenant, and what `TRACEWELL_TOKEN` holds, since a command line would show it to everybody.
pub(crate) fn identify(mut request: Builder, tenant: Option<&TenantId>) -> Builder {
    static TOKEN: LazyLock<Option<String>> = LazyLock::new(|| {
        let token = std::env::var("TRACEWELL_TOKEN").ok()?;
        (!token.is_empty()).then(|| format!("Bearer {token}"))
    });
    if let Some(tenant) = tenant {
        request = request.header(TENANT_HEADER, tenant.as_str());
    }
    if let Some(token) = TOKEN.as_deref() {
        request = request.header("authorization", token);
    }
    request
}
