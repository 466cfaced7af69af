//! The limits that cut answers short or refuse a query, by name: for counters.

macro_rules! query_limits {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A limit of queries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum QueryLimit {
            $($(#[$doc])* $name,)*
        }

        impl QueryLimit {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The key of the configuration; a name of its own where the limit is fixed.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

query_limits! {
    ReadBytes = "limits.query_read_bytes_max",
    MemoryBytes = "limits.query_memory_bytes_max",
    Time = "limits.query_ms_max",
    TraceSpans = "limits.trace_spans_max",
    TextBytes = "limits.query_bytes_max",
    Depth = "limits.query_depth_max",
    RegexBytes = "limits.regex_bytes_max",
    /// Filters and regular expressions of one query.
    Conditions = "query_conditions",
    /// Names or values of tags in one answer.
    Tags = "query_tags",
}

/// Those that one answer met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsHit(u16);

impl LimitsHit {
    pub fn insert(&mut self, limit: QueryLimit) {
        self.0 |= 1 << limit as u16;
    }

    pub fn iter(self) -> impl Iterator<Item = QueryLimit> {
        let is_hit = move |limit: &QueryLimit| self.0 & (1 << *limit as u16) != 0;
        QueryLimit::ALL.iter().copied().filter(is_hit)
    }
}
