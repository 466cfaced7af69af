//! The nouns of Tracewell: identifiers, spans, attribute values, leaf predicates, limits and the
//! four seams between rooms.
//!
//! It is not a place for I/O, a runtime, JSON or protobuf: bytes become these types in
//! `tracewell-wire`, and files hold them in `tracewell-store`. Start reading at [`span`] for what a
//! trace is, [`batch`] for what one request becomes, and [`source`] for how a query reads.

pub mod alias;
pub mod batch;
pub mod budget;
pub mod clock;
pub mod column;
pub mod filter;
pub mod id;
pub mod limits;
pub mod predicate;
pub mod retention;
pub mod shared;
pub mod sink;
pub mod source;
pub mod span;
pub mod value;
pub mod values;

pub use batch::SpanBatch;
pub use clock::{Clock, TimeRange};
pub use column::{AttributeScope, Column, Intrinsic};
pub use filter::{Filter, Leaf, Level};
pub use id::{ContentHash, SpanId, TenantId, TraceId};
pub use limits::Limits;
pub use predicate::{CompareOp, Predicate};
pub use retention::RetentionAges;
pub use span::{Event, Link, Resource, Scope, Span, Status, Trace};
pub use value::{AttributeValue, KeyValue, Value};
pub use values::{ColumnValues, Numbers};
