//! TLS on a listener, with certificates that can be replaced while it runs.
//!
//! The files are read again by whoever calls [`Tls::reload`]; a version that does not hold together is refused as a
//! whole, and the certificates that were there go on to serve. Connections that are open keep what they began with.
//! Protocol versions are those of rustls, 1.2 and 1.3; HTTP/2 and HTTP/1.1 are offered by ALPN (RFC 7301).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Where the certificates of a listener lie; PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and a root.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Who may sign the certificates of clients.
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

/// Whether clients show a certificate. Means something only with [`TlsFiles::client_ca`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Who shows none is let in, who shows a wrong one is not.
    IfGiven,
    #[default]
    Required,
}

/// Why certificates are of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error("{}: {source}; name a file that this process can read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: expected {expected} in PEM form{why}", path.display())]
    Content {
        path: PathBuf,
        expected: &'static str,
        why: String,
    },
    #[error("{} and {}: {reason}", cert.display(), key.display())]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        reason: String,
    },
}

/// The certificates of one listener, as they are now.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    seen: Mutex<Seen>,
}

/// What a look at the files has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    Unchanged,
    /// Something else, which the next look judges.
    Changing,
    /// Others hold from now on.
    New,
}

#[derive(Debug)]
struct Seen {
    held: Contents,
    /// What the last look found, where that is something else.
    changing: Option<Contents>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Protocols that the listeners speak, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

// === impl Tls ===

impl Tls {
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let contents = Contents::read(&files)?;
        let config = contents.config(&files)?;
        Ok(Arc::new(Self {
            files,
            current: ArcSwap::from(config),
            seen: Mutex::new(Seen {
                held: contents,
                changing: None,
            }),
        }))
    }

    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Reads the files again. A version is judged when two looks in a row have found it, so that nobody takes up half
    /// of a file that is written at the moment. One that is of no use is an error each time, and changes nothing.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        let contents = Contents::read(&self.files)?;
        let mut seen = self.seen.lock();
        if seen.held == contents {
            seen.changing = None;
            return Ok(Reload::Unchanged);
        }
        if seen.changing.as_ref() != Some(&contents) {
            seen.changing = Some(contents);
            return Ok(Reload::Changing);
        }
        self.current.store(contents.config(&self.files)?);
        seen.changing = None;
        seen.held = contents;
        Ok(Reload::New)
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        acceptor.accept(stream).await
    }
}

/// Whether what comes first is the beginning of a TLS connection. Waits for it.
pub(crate) async fn is_handshake(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let n = stream.peek(&mut first).await?;
    // A peer that has left has said nothing wrong.
    Ok(n == 0 || first == [HANDSHAKE])
}

// === impl Contents ===

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn config(&self, files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
        let pair = |reason: String| TlsError::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            reason,
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| pair(error.to_string()))?;
        let chain = certificates(&self.cert, &files.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| content(&files.key, "a private key", &error.to_string()))?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(bytes), Some(path)) => {
                builder.with_client_cert_verifier(verifier(bytes, path, files, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| pair(error.to_string()))?;
        if self.client_ca.is_some() {
            // Who resumes a session shows no certificate: one that has expired would be good for ever.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn verifier(
    bytes: &[u8],
    path: &Path,
    files: &TlsFiles,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    const EXPECTED: &str = "certificates of who may sign for clients";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bytes, path)? {
        roots
            .add(certificate)
            .map_err(|error| content(path, EXPECTED, &error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match files.client_auth {
        ClientAuth::Required => builder,
        ClientAuth::IfGiven => builder.allow_unauthenticated(),
    };
    builder
        .build()
        .map_err(|error| content(path, EXPECTED, &error.to_string()))
}

fn certificates(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const EXPECTED: &str = "certificates";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(content(path, EXPECTED, "there are none")),
        Ok(found) => Ok(found),
        Err(error) => Err(content(path, EXPECTED, &error.to_string())),
    }
}

fn content(path: &Path, expected: &'static str, why: &str) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        expected,
        why: format!(": {why}"),
    }
}
