//! Any text as TraceQL: what parses prints to a text that means the same, and can be planned or is
//! refused; what does not parse says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_query::Aliases;
use tracewell_query::plan::{Plan, PlanLimits};
use tracewell_query::syntax::{SyntaxLimits, parse, parse_attribute_name, parse_lenient};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let limits = SyntaxLimits::default();
    drop(parse_lenient(text, limits));
    drop(parse_attribute_name(text, limits));
    let query = match parse(text) {
        Ok(query) => query,
        Err(error) => {
            assert!(error.span.from <= text.len(), "{error}");
            return;
        }
    };
    let printed = query.to_string();
    // Parentheses that the printer adds may go beyond the limit on depth.
    if let Ok(again) = parse(&printed) {
        assert_eq!(again, query, "{printed}");
        assert_eq!(again.to_string(), printed);
    }
    let mut plan_limits = PlanLimits::from(&tracewell_model::Limits::default());
    plan_limits.regex_bytes_max = 1 << 16;
    drop(Plan::new(text, &query, Aliases::Resolve, plan_limits));
});
