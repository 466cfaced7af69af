//! Any text as TraceQL: what parses is printed and parses to the same tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_query::parse;

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(query) => {
            let printed = query.to_string();
            match parse(&printed) {
                Ok(again) => assert_eq!(query, again, "{text:?} printed as {printed:?}"),
                // Printing spells out what was short, and a limit is on the spelling.
                Err(error) => assert!(printed.len() > text.len(), "{printed:?}: {error}"),
            }
        }
        Err(error) => drop(error.to_string()),
    }
});
