//! Every named limit with its default and the arithmetic beside it.
//!
//! A limit that bites is counted under its name and answered so that the client understands it: with
//! the key of the configuration that changes it, see [`REFUSALS`].

/// The limits of the ingest path, the store and queries. Bytes unless the name says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The one budget for data in memory: head 1/2, requests in flight 1/8, cutting and merging
    /// 1/4, queries and caches the rest.
    pub memory_bytes: u64,
    /// A request body as it arrives. 512 spans of 356 bytes are 180 KB; 20 MiB is 58,000 spans.
    pub request_bytes_max: u64,
    /// A request body once decompressed. Also bounds a decompression bomb.
    pub request_decoded_bytes_max: u64,
    /// Spans in one request.
    pub request_spans_max: usize,
    /// Attributes, events and links in one request, together: a million small ones fit.
    pub request_items_max: usize,
    /// Attributes of one span, event, link, resource or scope.
    pub attributes_max: usize,
    /// Key of an attribute.
    pub attribute_key_bytes_max: usize,
    /// Value of an attribute, nested content included.
    pub attribute_value_bytes_max: usize,
    /// Levels of arrays and lists within an attribute value.
    pub attribute_depth_max: usize,
    /// Name of a span or event, and a trace state.
    pub name_bytes_max: usize,
    /// Connections open at the same time on one listener.
    pub connections_max: usize,
    /// TraceQL text; Tempo's `max_query_expression_size_bytes`.
    pub query_bytes_max: usize,
    /// Levels of parentheses and operators in a query.
    pub query_depth_max: usize,
    /// Compiled size of one regular expression.
    pub regex_bytes_max: usize,
    /// What one query may read from blocks.
    pub query_read_bytes_max: u64,
    /// What queries may keep in memory, all together, until their answers are sent.
    pub query_memory_bytes_max: u64,
    /// How long one query may take, in milliseconds.
    pub query_ms_max: u64,
    /// Queries that run at the same time; further ones wait, for 30 seconds at most, then get 429.
    pub queries_max: usize,
    /// Spans of one trace in an answer; a larger trace is answered in part.
    pub trace_spans_max: usize,
    /// Free space on the volume below which ingest answers 429.
    pub disk_reserve_bytes: u64,
    /// First blocks that wait for a merge; more slow ingest down.
    pub waiting_blocks_max: usize,
    /// Decompressed bytes of requests that one tenant may send each second; [`Limits::NONE`].
    pub tenant_bytes_per_second_max: u64,
    /// What it may send at once: more than any request has by default.
    pub tenant_burst_bytes_max: u64,
    /// Queries of one tenant that run at the same time; [`Limits::NONE`].
    pub tenant_queries_max: u64,
    /// Traces of one tenant that get spans at the same time; [`Limits::NONE`].
    pub tenant_traces_max: u64,
    /// Spans of one trace, as they came, while it gets some; [`Limits::NONE`].
    pub trace_bytes_max: u64,
}

/// What an ingest request can be refused for, as answers and counters name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusing {
    /// What the sender reads: it names the key.
    pub text: &'static str,
    /// The key of the configuration to change.
    pub key: &'static str,
    /// Which part of it, where one key rules several.
    pub part: &'static str,
}

pub const HEAD_BYTES: &str = "limits.memory_bytes (its half for the newest spans)";
pub const IN_FLIGHT_BYTES: &str = "limits.memory_bytes (its eighth for requests in flight)";
pub const REQUEST_BYTES: &str = "limits.request_bytes_max";
pub const REQUEST_DECODED_BYTES: &str = "limits.request_decoded_bytes_max";
pub const DISK_RESERVE_BYTES: &str = "limits.disk_reserve_bytes";
pub const DISK_FULL: &str =
    "the space of the volume, of which limits.disk_reserve_bytes should be free,";
pub const WAITING_BLOCKS: &str = "limits.waiting_blocks_max";
/// These three are no keys: they follow from others, which the text names.
pub const LOG_BYTES: &str = "the room of the write-ahead log, which cutting blocks gives back: faster \
     with more limits.memory_bytes,";
pub const LOG_QUEUE_BYTES: &str =
    "the queue before the write-ahead log, an eighth of the default of limits.memory_bytes,";
pub const LOG_RECORD_BYTES: &str = "a record of the write-ahead log, to be kept by a smaller \
     limits.request_decoded_bytes_max,";

/// Traces that grow, as far as they are remembered; further ones are taken without a look at their limits.
pub const LIVE_TRACES: &str = "traces that are remembered for limits.tenant_traces_max";

/// Everything that refuses a request or a batch, or lets one pass unseen.
pub const REFUSALS: &[Refusing] = &[
    refusing(HEAD_BYTES, "limits.memory_bytes", "head"),
    refusing(IN_FLIGHT_BYTES, "limits.memory_bytes", "in_flight"),
    refusing(REQUEST_BYTES, REQUEST_BYTES, ""),
    refusing(REQUEST_DECODED_BYTES, REQUEST_DECODED_BYTES, ""),
    refusing(DISK_RESERVE_BYTES, DISK_RESERVE_BYTES, ""),
    refusing(DISK_FULL, DISK_RESERVE_BYTES, "full"),
    refusing(WAITING_BLOCKS, WAITING_BLOCKS, ""),
    refusing(LOG_BYTES, "limits.memory_bytes", "log"),
    refusing(LOG_QUEUE_BYTES, "limits.memory_bytes", "log_queue"),
    refusing(LOG_RECORD_BYTES, REQUEST_DECODED_BYTES, "log_record"),
    refusing(LIVE_TRACES, "limits.tenant_traces_max", "remembered"),
];

const fn refusing(text: &'static str, key: &'static str, part: &'static str) -> Refusing {
    Refusing { text, key, part }
}

macro_rules! values {
    ($($field:ident,)*) => {
        /// Every limit under its key of the configuration.
        pub fn values(&self) -> Vec<(&'static str, u64)> {
            vec![$((concat!("limits.", stringify!($field)), self.$field as u64),)*]
        }
    };
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            memory_bytes: 256_000_000,
            request_bytes_max: 20 * MIB,
            request_decoded_bytes_max: 20 * MIB,
            request_spans_max: 60_000,
            request_items_max: 1_000_000,
            attributes_max: 1_024,
            attribute_key_bytes_max: 2_048,
            attribute_value_bytes_max: 1 << 18,
            attribute_depth_max: 32,
            name_bytes_max: 16_384,
            connections_max: 4_096,
            query_bytes_max: 128 << 10,
            query_depth_max: 128,
            regex_bytes_max: 1 << 20,
            query_read_bytes_max: 8 << 30,
            query_memory_bytes_max: 64 * MIB,
            query_ms_max: 60_000,
            queries_max: 16,
            trace_spans_max: 100_000,
            disk_reserve_bytes: 512 * MIB,
            waiting_blocks_max: 32,
            tenant_bytes_per_second_max: Self::NONE,
            tenant_burst_bytes_max: 30_000_000,
            tenant_queries_max: Self::NONE,
            tenant_traces_max: Self::NONE,
            trace_bytes_max: Self::NONE,
        }
    }
}

/// The limits that a tenant may have for itself, by their keys of the configuration.
pub const TENANT_KEYS: &[&str] = &[
    "limits.tenant_bytes_per_second_max",
    "limits.tenant_burst_bytes_max",
    "limits.tenant_queries_max",
    "limits.tenant_traces_max",
    "limits.trace_bytes_max",
    "limits.request_spans_max",
    "limits.attributes_max",
    "limits.attribute_key_bytes_max",
    "limits.attribute_value_bytes_max",
    "limits.query_ms_max",
];

impl Limits {
    /// The value of a limit that there is not.
    pub const NONE: u64 = u64::MAX;

    /// The values of [`TENANT_KEYS`], in the order of [`Limits::values`].
    pub fn tenant_values(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = self.values().into_iter();
        all.filter(|(key, _)| TENANT_KEYS.contains(key))
    }

    values! {
        memory_bytes,
        request_bytes_max,
        request_decoded_bytes_max,
        request_spans_max,
        request_items_max,
        attributes_max,
        attribute_key_bytes_max,
        attribute_value_bytes_max,
        attribute_depth_max,
        name_bytes_max,
        connections_max,
        query_bytes_max,
        query_depth_max,
        regex_bytes_max,
        query_read_bytes_max,
        query_memory_bytes_max,
        query_ms_max,
        queries_max,
        trace_spans_max,
        disk_reserve_bytes,
        waiting_blocks_max,
        tenant_bytes_per_second_max,
        tenant_burst_bytes_max,
        tenant_queries_max,
        tenant_traces_max,
        trace_bytes_max,
    }

    /// Bytes that the generations of the head may hold together.
    pub fn head_bytes(&self) -> u64 {
        self.memory_bytes / 2
    }

    /// Bytes of one generation of the head.
    pub fn generation_bytes(&self) -> u64 {
        self.head_bytes() / 4
    }

    /// Bytes of request bodies between socket and head.
    pub fn in_flight_bytes(&self) -> u64 {
        self.memory_bytes / 8
    }

    /// Bytes that cutting and merging may hold.
    pub fn merge_bytes(&self) -> u64 {
        self.memory_bytes / 4
    }

    /// Bytes of queries and caches.
    pub fn cache_bytes(&self) -> u64 {
        self.memory_bytes / 8
    }
}
