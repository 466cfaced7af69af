//! Clients that say nothing, stop in the middle, or do not read.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;
use tracewell_ingest::accept::{self, ConnectionLimits, ConnectionMetrics};
use tracewell_ingest::tls::{ClientAuth, Tls, TlsFiles};

use crate::client::Running;

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_let_go() {
    let running = Running::start_with(|config| {
        config.body_pause_max = Duration::from_millis(500);
        config.connections.first_bytes_timeout = Duration::from_millis(500);
        config.connections.head_timeout = Duration::from_millis(500);
    })
    .await;
    // Says nothing at all, or only half of HTTP/2's preface.
    for beginning in [&b""[..], b"PRI * HTT"] {
        let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
    // Half a head.
    let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
    stream
        .write_all(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    // Half a body.
    let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
    let head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\nabc";
    stream.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(running.in_flight_bytes(), 0);
    running.stop().await;
}

/// A listener whose every answer is half a kilobyte.
struct Answering {
    address: std::net::SocketAddr,
    metrics: Arc<ConnectionMetrics>,
    cancel: CancellationToken,
}

impl Answering {
    fn start(limits: ConnectionLimits, tls: Option<Arc<Tls>>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Connections inherit it, so that what is not read is felt soon.
        socket.set_send_buffer_size(16 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, cancel) = (Arc::default(), CancellationToken::new());
        let service = service_fn(|_| async {
            let body = Full::new(Bytes::from(vec![b'x'; 512]));
            Ok::<_, Infallible>(Response::new(body))
        });
        let (counted, stop) = (Arc::clone(&metrics), cancel.clone());
        tokio::spawn(accept::serve(listener, service, limits, tls, counted, stop));
        Self {
            address,
            metrics,
            cancel,
        }
    }

    fn n_open(&self) -> usize {
        self.metrics.open.load(Ordering::Relaxed)
    }

    async fn is_let_go(&self, what: &str) {
        let let_go = async {
            while self.n_open() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, let_go).await;
        assert!(in_time.is_ok(), "{what} is still there");
        assert!(self.metrics.timeouts.load(Ordering::Relaxed) > 0, "{what}");
    }
}

/// A certificate for this machine that signs itself, on the server and trusted by a client.
fn certificate(folder: &std::path::Path) -> (Arc<Tls>, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    let pem = made.cert.pem();
    let der = tokio_rustls::rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes());
    roots.add(der.unwrap()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let files = TlsFiles {
        cert,
        key,
        client_ca: None,
        client_auth: ClientAuth::Required,
    };
    (
        Tls::load(files).unwrap(),
        TlsConnector::from(Arc::new(config)),
    )
}

/// Asks on and on and reads nothing, until nothing more is taken.
async fn ask_and_never_read(mut stream: impl tokio::io::AsyncWrite + Unpin) {
    let asks = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let write = async { while stream.write_all(&asks).await.is_ok() {} };
    // Whether it ends with an error or by itself: the connection stays open here.
    drop(tokio::time::timeout(PATIENCE, write).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_let_go_with_and_without_tls() {
    let mut limits = ConnectionLimits::new(10);
    limits.write_timeout = SHORT;
    let folder = tempfile::tempdir().unwrap();
    let (tls, connector) = certificate(folder.path());
    for with_tls in [false, true] {
        let server = Answering::start(limits.clone(), with_tls.then(|| Arc::clone(&tls)));
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let stream = socket.connect(server.address).await.unwrap();
        let client = match with_tls {
            false => tokio::spawn(ask_and_never_read(stream)),
            true => {
                let name = ServerName::try_from("localhost").unwrap();
                let stream = connector.connect(name, stream).await.unwrap();
                tokio::spawn(ask_and_never_read(stream))
            }
        };
        tokio::time::sleep(SHORT / 5).await;
        server
            .is_let_go(&format!("a client that does not read, TLS {with_tls}"))
            .await;
        client.abort();
        server.cancel.cancel();
    }
}

/// A connection that answers every ping and asks for nothing has no place for ever; one that asks keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_nothing_is_let_go() {
    let mut limits = ConnectionLimits::new(10);
    limits.first_bytes_timeout = SHORT / 2;
    limits.first_request_timeout = SHORT;
    limits.idle_timeout = SHORT * 2;
    for n_requests in [0, 3] {
        let server = Answering::start(limits.clone(), None);
        let stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        for _ in 0..n_requests {
            let request = Request::get(format!("http://{}/", server.address));
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
            // Longer altogether than without a request.
            tokio::time::sleep(SHORT / 2).await;
            assert_eq!(server.n_open(), 1);
        }
        server
            .is_let_go(&format!("a client of {n_requests} requests"))
            .await;
        // It is told in order, and not cut off.
        connection.await.unwrap().unwrap();
        server.cancel.cancel();
    }
}
