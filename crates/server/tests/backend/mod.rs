//! A running query server over a planted engine, and a client.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracewell_ingest::{Admission, IngestMetrics, Tenants};
use tracewell_model::source::QueryMemory;
use tracewell_model::{Clock, Limits, TenantId, TimeRange};
use tracewell_query::plan::{DecidedBy, Explained, ExplainedFilter};
use tracewell_query::request::SourceSums;
use tracewell_query::series::Axis;
use tracewell_query::{
    Caller, Explanation, QueryStats, Result, SearchRequest, SearchResponse, SeriesRequest,
    SeriesResponse, TagNamesRequest, TagNamesResponse, TagValuesRequest, TagValuesResponse,
    TraceRequest, TraceResponse,
};
use tracewell_server::{
    Backend, BuildInfo, ConfigMode, FactValue, Host, Metric, OverridesFile, Queries, Readiness,
    Samples, Section, Server, ServerConfig, ServiceState,
};

/// 2023-11-14T22:13:20Z.
pub const NOW: u64 = 1_700_000_000_000_000_000;

pub struct Running {
    pub address: SocketAddr,
    pub planted: Arc<Planted>,
    pub host: Arc<PlantedHost>,
    pub ingest: Arc<IngestMetrics>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::new(Limits::default());
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let planted = Arc::new(Planted::default());
        let host = Arc::new(PlantedHost::default());
        let ingest = Arc::new(IngestMetrics::new());
        let tenants = Tenants::new(config.limits.clone().into(), Arc::clone(&ingest));
        let backend = Backend {
            tenants,
            queries: Arc::<Planted>::clone(&planted),
            host: Arc::<PlantedHost>::clone(&host),
            clock: Arc::new(Stopped),
            ingest: Some((Arc::clone(&ingest), Admission::new(1 << 20, Duration::ZERO))),
        };
        let cancel = CancellationToken::new();
        let server = Server::new(config, vec![listener.into()], backend).unwrap();
        let task = tokio::spawn(server.run(cancel.clone()));
        Self {
            address,
            planted,
            host,
            ingest,
            cancel,
            task,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_body(method, path, headers, Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send_body("POST", path, &[], body.into()).await
    }

    async fn send_body(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now_unix_nano(&self) -> u64 {
        NOW
    }

    fn monotonic_nano(&self) -> u64 {
        0
    }
}

/// Answers what was planted and keeps what was asked.
#[derive(Debug)]
pub struct Planted {
    pub trace: Mutex<TraceResponse>,
    pub search: Mutex<SearchResponse>,
    pub series: Mutex<SeriesResponse>,
    pub names: Mutex<TagNamesResponse>,
    pub values: Mutex<TagValuesResponse>,
    pub error: Mutex<Option<tracewell_query::Error>>,
    pub asked: Mutex<Vec<Asked>>,
    pub is_panicking: AtomicBool,
    pub gate: Semaphore,
    pub n_running: AtomicUsize,
    pub memory: Arc<QueryMemory>,
}

#[derive(Debug, Clone)]
pub enum Asked {
    Search(SearchRequest),
    Series(SeriesRequest),
    Trace(TraceRequest),
    Names(TagNamesRequest),
    Values(TagValuesRequest),
}

impl Default for Planted {
    fn default() -> Self {
        Self {
            trace: Mutex::default(),
            search: Mutex::default(),
            series: Mutex::new(SeriesResponse {
                axis: Axis::instant(0, 1).unwrap(),
                series: Vec::new(),
                stats: QueryStats::default(),
                partial: Vec::new(),
            }),
            names: Mutex::default(),
            values: Mutex::default(),
            error: Mutex::default(),
            asked: Mutex::default(),
            is_panicking: AtomicBool::new(false),
            gate: Semaphore::new(1_000),
            n_running: AtomicUsize::new(0),
            memory: QueryMemory::new(MEMORY_BYTES),
        }
    }
}

impl Planted {
    pub fn last(&self) -> Asked {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    pub async fn wait_for_running(&self, n: usize) {
        while self.n_running.load(Ordering::SeqCst) != n {
            tokio::task::yield_now().await;
        }
    }

    async fn answer<T: Clone>(&self, asked: Asked, answer: &Mutex<T>) -> Result<T> {
        struct Running<'a>(&'a AtomicUsize);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }

        assert!(!self.is_panicking.load(Ordering::SeqCst), "a planted panic");
        self.asked.lock().unwrap().push(asked);
        self.n_running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.n_running);
        let _open = self.gate.acquire().await.unwrap();
        match self.error.lock().unwrap().clone() {
            Some(error) => Err(error),
            None => Ok(answer.lock().unwrap().clone()),
        }
    }
}

impl Queries for Planted {
    fn explain(&self, text: &str, caller: &Caller, _: TimeRange) -> Result<Explanation> {
        let sums = |n: u64| SourceSums {
            n_sources: n as usize,
            n_shared: 1,
            n_spans: n * 10,
            n_bytes: n * 1_000,
        };
        assert_eq!(caller.tenant, TenantId::single());
        Ok(Explanation {
            canonical: text.to_owned(),
            is_series: text.contains("rate"),
            plans: vec![Explained {
                filters: vec![ExplainedFilter {
                    scan: "status = error".to_owned(),
                    fragment: Some("true".to_owned()),
                    is_exact: true,
                }],
                requires: "1".to_owned(),
                decided_by: DecidedBy::Columns,
                columns: vec!["span:start".to_owned()],
                selection: None,
            }],
            all: sums(5),
            in_window: sums(2),
            missing: vec!["block 3 is set aside".to_owned()],
        })
    }

    fn search(&self, request: SearchRequest) -> BoxFuture<'_, Result<SearchResponse>> {
        Box::pin(self.answer(Asked::Search(request), &self.search))
    }

    fn series(&self, request: SeriesRequest) -> BoxFuture<'_, Result<SeriesResponse>> {
        Box::pin(self.answer(Asked::Series(request), &self.series))
    }

    fn trace_by_id(&self, request: TraceRequest) -> BoxFuture<'_, Result<TraceResponse>> {
        Box::pin(self.answer(Asked::Trace(request), &self.trace))
    }

    fn tag_names(&self, request: TagNamesRequest) -> BoxFuture<'_, Result<TagNamesResponse>> {
        Box::pin(self.answer(Asked::Names(request), &self.names))
    }

    fn tag_values(&self, request: TagValuesRequest) -> BoxFuture<'_, Result<TagValuesResponse>> {
        Box::pin(self.answer(Asked::Values(request), &self.values))
    }

    fn memory(&self) -> &Arc<QueryMemory> {
        &self.memory
    }
}

/// What queries may hold here.
pub const MEMORY_BYTES: u64 = 1 << 20;

#[derive(Debug, Default)]
pub struct PlantedHost {
    pub readiness: Mutex<Readiness>,
    pub n_flushes: AtomicUsize,
    pub n_shutdowns: AtomicUsize,
}

impl Host for PlantedHost {
    fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap().clone()
    }

    fn flush(&self) -> BoxFuture<'_, std::result::Result<(), String>> {
        self.n_flushes.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn shutdown(&self) {
        self.n_shutdowns.fetch_add(1, Ordering::SeqCst);
    }

    fn config(&self, mode: ConfigMode) -> std::result::Result<String, String> {
        Ok(format!("mode: {mode:?}\n"))
    }

    fn services(&self) -> Vec<ServiceState> {
        vec![ServiceState {
            name: String::from("store"),
            state: String::from("Running"),
        }]
    }

    fn status(&self) -> Vec<Section> {
        vec![Section::new("head").with("spans", FactValue::Count(12))]
    }

    fn overrides(&self) -> Option<OverridesFile> {
        None
    }

    fn build(&self) -> BuildInfo {
        BuildInfo {
            version: String::from("0.1.0"),
            revision: String::from("abc"),
            ..BuildInfo::default()
        }
    }

    fn measure(&self, samples: &mut Samples) {
        let labels = vec![("tenant", String::from("single-tenant"))];
        samples.add(Metric::BlocklistLength, labels, 7);
        samples.add(Metric::BlocksCut, Vec::new(), 3);
    }
}
