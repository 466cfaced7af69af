//! A stub of Google Cloud Storage: the part of its XML API that an object store client uses, objects in memory.
//!
//! Put (with `x-goog-if-generation-match`), get with ranges, head, list in pages, delete, and uploads in parts, as
//! <https://cloud.google.com/storage/docs/xml-api/overview> describes them. What it is not: it asks nobody who they are,
//! keeps no versions, and is no proof that Google's own server would agree.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use jiff::Timestamp;
use parking_lot::Mutex;

/// A server on a port of loopback, with one bucket of any name.
#[derive(Debug)]
pub struct GcsStub {
    port: u16,
    store: Arc<Mutex<Objects>>,
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    is_ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Objects {
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Of generations and uploads.
    next: u64,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Vec<u8>,
    generation: u64,
    modified: Timestamp,
}

struct Request {
    method: String,
    /// The object's name, or nothing where the bucket is asked.
    name: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// Small, so that every test of a list meets several pages.
const PAGE_KEYS: usize = 7;

// === impl GcsStub ===

impl GcsStub {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut stub = Self {
            port: listener.local_addr()?.port(),
            store: Arc::default(),
            listening: None,
        };
        stub.listen(listener);
        Ok(stub)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Refuses connections from now on; what was put stays.
    pub fn pause(&mut self) {
        let Some(Listening { is_ended, thread }) = self.listening.take() else {
            return;
        };
        is_ended.store(true, Ordering::SeqCst);
        // Wakes it; where nobody listens it has ended already.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        drop(thread.join());
    }

    pub fn resume(&mut self) -> Result<()> {
        self.listen(TcpListener::bind(("127.0.0.1", self.port))?);
        Ok(())
    }

    /// Names of all objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.store.lock().objects.keys().cloned().collect()
    }

    /// Puts an object past the API.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.store.lock().put(name, bytes.to_vec());
    }

    fn listen(&mut self, listener: TcpListener) {
        let (store, is_ended) = (Arc::clone(&self.store), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&is_ended);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (store, ended) = (Arc::clone(&store), Arc::clone(&ended));
                if let Ok(stream) = stream {
                    // A client that leaves is no matter of the server's.
                    std::thread::spawn(move || drop(converse(&stream, &store, &ended)));
                }
            }
        });
        self.listening = Some(Listening { is_ended, thread });
    }
}

impl Drop for GcsStub {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Answers requests of one connection until its client leaves.
fn converse(stream: &TcpStream, store: &Mutex<Objects>, is_ended: &AtomicBool) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = Request::read(&mut reader)? {
        if is_ended.load(Ordering::SeqCst) {
            break;
        }
        let answer = store.lock().answer(&request);
        let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
        let length = ("content-length", answer.body.len().to_string());
        let is_said = answer.headers.iter().any(|(name, _)| *name == length.0);
        for (name, value) in answer.headers.iter().chain((!is_said).then_some(&length)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        writer.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            writer.write_all(&answer.body)?;
        }
    }
    Ok(())
}

// === impl Objects ===

impl Objects {
    fn answer(&mut self, request: &Request) -> Answer {
        let upload = request.query.get("uploadId");
        match (request.method.as_str(), upload) {
            ("GET", _) if request.name.is_empty() => self.list(request),
            ("GET" | "HEAD", _) => self.get(request),
            ("PUT", Some(upload)) => self.put_part(upload, request),
            ("PUT", None) => self.put_object(request),
            ("POST", Some(upload)) => self.complete(upload, request),
            ("POST", None) if request.query.contains_key("uploads") => self.begin_upload(),
            ("DELETE", Some(upload)) => {
                self.uploads.remove(upload);
                Answer::empty("204 No Content")
            }
            ("DELETE", None) => match self.objects.remove(&request.name) {
                Some(_) => Answer::empty("204 No Content"),
                None => Answer::error("404 Not Found", "NoSuchKey"),
            },
            _ => Answer::error("405 Method Not Allowed", "MethodNotAllowed"),
        }
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>) -> &Object {
        self.next += 1;
        let object = Object {
            bytes,
            generation: self.next,
            modified: Timestamp::now(),
        };
        let entry = self.objects.entry(name.to_owned());
        entry.insert_entry(object).into_mut()
    }

    fn put_object(&mut self, request: &Request) -> Answer {
        let present = self
            .objects
            .get(&request.name)
            .map_or(0, |it| it.generation);
        let wanted = request.headers.get("x-goog-if-generation-match");
        if wanted.is_some_and(|wanted| *wanted != present.to_string()) {
            return Answer::error("412 Precondition Failed", "PreconditionFailed");
        }
        let object = self.put(&request.name, request.body.clone());
        Answer::of(object, "200 OK")
    }

    fn get(&self, request: &Request) -> Answer {
        let Some(object) = self.objects.get(&request.name) else {
            return Answer::error("404 Not Found", "NoSuchKey");
        };
        let n = object.bytes.len();
        let mut answer = Answer::of(object, "200 OK");
        answer.headers.push(("content-length", n.to_string()));
        let range = request.headers.get("range").and_then(|it| range_of(it, n));
        match (request.headers.contains_key("range"), range) {
            (true, None) => return Answer::error("416 Range Not Satisfiable", "InvalidRange"),
            (true, Some((from, to))) => {
                answer = Answer::of(object, "206 Partial Content");
                let content_range = format!("bytes {from}-{}/{n}", to - 1);
                answer.headers.push(("content-range", content_range));
                answer.body = object.bytes.get(from..to).unwrap_or_default().to_vec();
            }
            (false, _) if request.method == "GET" => answer.body.clone_from(&object.bytes),
            (false, _) => {}
        }
        answer
    }

    fn list(&self, request: &Request) -> Answer {
        let parameter = |name: &str| request.query.get(name).map_or("", String::as_str);
        let after = parameter("continuation-token").max(parameter("start-after"));
        let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
        let mut keys = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let (mut contents, mut folders, mut last) = (String::new(), Vec::new(), "");
        for (key, object) in keys.by_ref().take(PAGE_KEYS) {
            last = key;
            let rest = key.strip_prefix(prefix).unwrap_or_default();
            match rest.split_once(delimiter).filter(|_| !delimiter.is_empty()) {
                Some((folder, _)) => folders.push(format!("{prefix}{folder}{delimiter}")),
                None => contents.push_str(&format!(
                    "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>{}</LastModified><ETag>\"{}\"</ETag></Contents>",
                    object.bytes.len(),
                    object.modified,
                    object.generation
                )),
            }
        }
        folders.dedup();
        for folder in folders {
            contents.push_str(&format!(
                "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
            ));
        }
        if keys.next().is_some() {
            contents.push_str(&format!(
                "<NextContinuationToken>{last}</NextContinuationToken>"
            ));
        }
        Answer::xml(&format!("<ListBucketResult>{contents}</ListBucketResult>"))
    }

    fn begin_upload(&mut self) -> Answer {
        self.next += 1;
        let id = format!("upload-{}", self.next);
        self.uploads.insert(id.clone(), BTreeMap::new());
        Answer::xml(&format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        ))
    }

    fn put_part(&mut self, upload: &str, request: &Request) -> Answer {
        let number = request.query.get("partNumber");
        let number = number.and_then(|number| number.parse().ok());
        let Some((number, parts)) = number.zip(self.uploads.get_mut(upload)) else {
            return Answer::error("404 Not Found", "NoSuchUpload");
        };
        parts.insert(number, request.body.clone());
        let mut answer = Answer::empty("200 OK");
        answer.headers.push(("etag", format!("\"part-{number}\"")));
        answer
    }

    fn complete(&mut self, upload: &str, request: &Request) -> Answer {
        let Some(parts) = self.uploads.remove(upload) else {
            return Answer::error("404 Not Found", "NoSuchUpload");
        };
        let bytes = parts.into_values().flatten().collect();
        let object = self.put(&request.name, bytes);
        let etag = object.generation;
        let mut answer = Answer::xml(&format!(
            "<CompleteMultipartUploadResult><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>"
        ));
        answer.headers.push(("x-goog-generation", etag.to_string()));
        answer
    }
}

/// `bytes=from-to`, `bytes=from-` or `bytes=-last` of so many bytes, with its end excluded.
fn range_of(text: &str, n: usize) -> Option<(usize, usize)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from, to) {
        ("", last) => (n.saturating_sub(last.parse().ok()?), n),
        (from, "") => (from.parse().ok()?, n),
        (from, to) => (
            from.parse().ok()?,
            to.parse::<usize>().ok()?.checked_add(1)?,
        ),
    };
    (from < n && from < to).then_some((from, to.min(n)))
}

// === impl Request ===

impl Request {
    /// None where the client has left.
    fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next(), words.next());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length");
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let target = target.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let name = path.trim_start_matches('/').split_once('/');
        Ok(Some(Self {
            method: method.unwrap_or_default(),
            name: decoded(name.map_or("", |(_bucket, name)| name)),
            query: query
                .split('&')
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decoded(name), decoded(value)))
                .collect(),
            headers,
            body,
        }))
    }
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.split_at_checked(2);
        let code = hex.and_then(|(hex, after)| {
            let code = u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16);
            Some((code.ok()?, after))
        });
        let (byte, after) = match (first, code) {
            (b'%', Some(code)) => code,
            (b'+', _) => (b' ', after),
            (other, _) => (*other, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// === impl Answer ===

impl Answer {
    fn empty(status: &'static str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// What is told of an object beside its bytes.
    fn of(object: &Object, status: &'static str) -> Self {
        let modified = object.modified.strftime("%a, %d %b %Y %H:%M:%S GMT");
        Self {
            headers: vec![
                ("etag", format!("\"{}\"", object.generation)),
                ("x-goog-generation", object.generation.to_string()),
                ("last-modified", modified.to_string()),
            ],
            ..Self::empty(status)
        }
    }

    fn xml(text: &str) -> Self {
        Self {
            headers: vec![("content-type", "application/xml".to_owned())],
            body: format!("<?xml version='1.0' encoding='UTF-8'?>{text}").into_bytes(),
            ..Self::empty("200 OK")
        }
    }

    fn error(status: &'static str, code: &str) -> Self {
        Self {
            status,
            ..Self::xml(&format!("<Error><Code>{code}</Code></Error>"))
        }
    }
}
