//! A proxy in front of an S3 server that does to requests what networks and object stores do, switched
//! while it runs.
//!
//! Each connection has a thread and carries one request. What is forwarded goes on as the client wrote
//! it, with a `Connection: close` more, so that the answer ends where the connection does; the host that
//! the client has signed stays. What this is not: a model of an object store; what it forwards, a real
//! one answers.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    None,
    /// Answered 503 at once, not forwarded.
    Refuse,
    /// The connection is closed, nothing is forwarded.
    Reset,
    /// Forwarded, and the connection is closed without the answer.
    Unanswered,
    /// Forwarded this much later.
    Slow(Duration),
    /// Read, and never answered: the connection is closed when the fault ends.
    Silent,
    /// The connection is closed at once, and the request is forwarded this much later all the same.
    Late(Duration),
    /// Listings are answered as those of an empty bucket; all else is forwarded.
    EmptyListing,
    /// Connections are closed before a request is read.
    Away,
}

/// Which requests a fault befalls; the others are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Befalls {
    All,
    /// Those that change something.
    Writes,
    /// One in so many.
    EachOf(u64),
}

/// Requests by what happened to them.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// A running proxy; dropped, it ends its threads and connections.
#[derive(Debug)]
pub(crate) struct Unreliable {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Host and port of the real server.
    upstream: String,
    state: Mutex<State>,
    changed: Condvar,
    n_requests: AtomicU64,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    befalls: Befalls,
    /// Counts the changes of the fault.
    epoch: u64,
    is_stopping: bool,
    counts: Counts,
    /// Sockets by connection, to be closed at the end.
    open: BTreeMap<u64, Vec<TcpStream>>,
}

/// A request, as it came.
struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
}

const REFUSAL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code>\
     <Message>Please reduce your request rate.</Message></Error>";
const EMPTY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
     <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>traces</Name><Prefix></Prefix>\
     <KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";

// === impl Fault ===

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Unanswered => "unanswered",
            Self::Slow(_) => "slow",
            Self::Silent => "silent",
            Self::Late(_) => "late",
            Self::EmptyListing => "empty listing",
            Self::Away => "away",
        }
    }
}

// === impl Unreliable ===

impl Unreliable {
    /// In front of `upstream`, without a fault.
    pub(crate) fn start(upstream: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(State {
                fault: Fault::None,
                befalls: Befalls::All,
                epoch: 0,
                is_stopping: false,
                counts: Counts::new(),
                open: BTreeMap::new(),
            }),
            changed: Condvar::new(),
            n_requests: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        Self {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on; what is on its way is not changed, except that silence ends.
    pub(crate) fn set(&self, fault: Fault, befalls: Befalls) {
        let mut state = self.shared.state();
        state.fault = fault;
        state.befalls = befalls;
        state.epoch += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    pub(crate) fn calm(&self) {
        self.set(Fault::None, Befalls::All);
    }

    pub(crate) fn n_requests(&self) -> u64 {
        self.shared.n_requests.load(Ordering::Relaxed)
    }

    /// How many requests each fault befell.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.state().counts.clone()
    }
}

impl Drop for Unreliable {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.is_stopping = true;
            let sockets = state.open.values().flatten();
            sockets.for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        }
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for number in 0.. {
        let Ok((client, _)) = listener.accept() else {
            continue;
        };
        let is_away = {
            let mut state = shared.state();
            if state.is_stopping {
                break;
            }
            let is_away = state.fault == Fault::Away;
            if is_away {
                state.count(Fault::Away);
            }
            is_away
        };
        if is_away {
            continue;
        }
        threads.retain(|thread| !thread.is_finished());
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            // A connection that breaks is no more than the proxy is there for.
            drop(shared.serve(number, client));
            shared.state().open.remove(&number);
        }));
    }
    for thread in threads {
        drop(thread.join());
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|held| held.into_inner())
    }

    fn serve(&self, number: u64, mut client: TcpStream) -> io::Result<()> {
        self.keep(number, &client)?;
        let Some(request) = Request::read(&mut client)? else {
            return Ok(());
        };
        let n = self.n_requests.fetch_add(1, Ordering::Relaxed);
        let (fault, epoch) = {
            let mut state = self.state();
            let fault = match state.befalls {
                Befalls::Writes if !request.is_write() => Fault::None,
                Befalls::EachOf(each) if !n.is_multiple_of(each) => Fault::None,
                _ if state.fault == Fault::EmptyListing && !request.is_listing() => Fault::None,
                _ => state.fault,
            };
            state.count(fault);
            (fault, state.epoch)
        };
        match fault {
            Fault::None => self.forward(number, &request, Some(&mut client)),
            Fault::Refuse => answer(&mut client, "503 Slow Down", REFUSAL),
            Fault::EmptyListing => answer(&mut client, "200 OK", EMPTY),
            Fault::Reset | Fault::Away => Ok(()),
            Fault::Unanswered => self.forward(number, &request, None),
            Fault::Slow(delay) => {
                self.wait(Some(delay), None);
                self.forward(number, &request, Some(&mut client))
            }
            Fault::Silent => {
                self.wait(None, Some(epoch));
                Ok(())
            }
            Fault::Late(delay) => {
                client.shutdown(Shutdown::Both)?;
                self.wait(Some(delay), None);
                self.forward(number, &request, None)
            }
        }
    }

    /// Remembers a socket, so that the end of the proxy is the end of it.
    fn keep(&self, number: u64, socket: &TcpStream) -> io::Result<()> {
        let socket = socket.try_clone()?;
        let mut state = self.state();
        if state.is_stopping {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.open.entry(number).or_default().push(socket);
        Ok(())
    }

    /// Waits for so long, or until the fault is another one than that of `epoch`, or the proxy ends.
    fn wait(&self, delay: Option<Duration>, epoch: Option<u64>) {
        let goes_on = |state: &mut State| {
            !state.is_stopping && epoch.is_none_or(|epoch| state.epoch == epoch)
        };
        let state = self.state();
        match delay {
            Some(delay) => drop(self.changed.wait_timeout_while(state, delay, goes_on)),
            None => drop(self.changed.wait_while(state, goes_on)),
        }
    }

    /// Sends a request on, and its answer back where somebody waits for it.
    fn forward(
        &self,
        number: u64,
        request: &Request,
        client: Option<&mut TcpStream>,
    ) -> io::Result<()> {
        let mut server = TcpStream::connect(&self.upstream)?;
        self.keep(number, &server)?;
        server.write_all(&request.head)?;
        server.write_all(&request.body)?;
        match client {
            Some(client) => io::copy(&mut server, client),
            None => io::copy(&mut server, &mut io::sink()),
        }
        .map(drop)
    }
}

// === impl State ===

impl State {
    fn count(&mut self, fault: Fault) {
        *self.counts.entry(fault.name()).or_default() += 1;
    }
}

// === impl Request ===

impl Request {
    /// `None` for a connection that ends before it has asked for anything.
    fn read(client: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut seen = Vec::new();
        let mut buffer = [0; 16 << 10];
        let end = loop {
            if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            match client.read(&mut buffer)? {
                0 => return Ok(None),
                n => seen.extend_from_slice(&buffer[..n]),
            }
        };
        let mut body = seen.split_off(end);
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        assert!(
            !text.contains("\r\ntransfer-encoding:"),
            "a body of unknown length: {text}"
        );
        let value = |line: &str| line.strip_prefix("content-length:")?.trim().parse().ok();
        let length: usize = text.lines().find_map(value).unwrap_or(0);
        let rest = length.saturating_sub(body.len());
        let n_read = client.take(rest as u64).read_to_end(&mut body)?;
        if n_read < rest {
            return Ok(None);
        }
        seen.truncate(end - 2);
        seen.extend_from_slice(b"connection: close\r\n\r\n");
        Ok(Some(Self { head: seen, body }))
    }

    fn is_write(&self) -> bool {
        let reads: [&[u8]; 2] = [b"GET ", b"HEAD "];
        !reads.iter().any(|method| self.head.starts_with(method))
    }

    fn is_listing(&self) -> bool {
        let line = self.head.split(|byte| *byte == b'\r').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        line.starts_with("GET ") && line.contains("list-type=2")
    }
}

fn answer(client: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}
